"""What is examined: one deployment, by its settings and what they lead to."""

from collections.abc import Sequence
from pathlib import Path

from worker.adapters.management import ManagementError, look_at
from worker.adapters.remote_time import RemoteTime, remote_times
from worker.checks.broker_view import BrokerView
from worker.checks.ledger_view import LedgerView
from worker.checks.reach import Reached, reach_all
from worker.checks.verdicts import CannotSeeError
from worker.model import Endpoint
from worker.ports import Clock
from worker.settings import Loaded, Settings, SettingsFault
from worker.topology import Topology
from worker.topology.picture import Picture

NOT_VISIBLE = "not visible over AMQP"
"""Why most of what is not seen of a broker is not."""

NOT_SHOWN = f"{NOT_VISIBLE}, and the management API shows nothing: see AMQP011"

SET_MANAGEMENT = (
    "Set broker.management.url, .user and .password to have it looked at over the management API."
)


class Deployment:
    """The settings with what is wrong about them, and views of what they lead to.

    Without sound settings ``loaded`` and ``topology`` are ``None`` and ``faults`` say why.
    ``at_start`` asks only for what must be true to consume safely. ``trusted_certificates`` adds
    to the system's, as the worker's own transport does. What was looked at is kept, so that two
    checks see the same.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        loaded: Loaded | None = None,
        topology: Topology | None = None,
        faults: Sequence[SettingsFault] = (),
        at_start: bool = False,
        trusted_certificates: Path | None = None,
    ) -> None:
        self.clock = clock
        self.faults = tuple(faults)
        self.warnings = () if loaded is None else loaded.warnings
        self.at_start = at_start
        self._loaded = loaded
        self._topology = topology
        self._trusted_certificates = trusted_certificates
        self._broker: BrokerView | None = None
        self._reached: list[tuple[str, Reached]] | None = None
        self._pictured: Picture | ManagementError | None = None

    @property
    def is_readable(self) -> bool:
        """Whether there are sound settings."""
        return self._loaded is not None

    @property
    def settings(self) -> Settings:
        """The settings; raises ``CannotSeeError`` where they cannot be used."""
        if self._loaded is None:
            reason = "the settings cannot be used"
            raise CannotSeeError(reason)
        return self._loaded.settings

    @property
    def broker(self) -> BrokerView:
        """The broker the settings name; raises ``CannotSeeError``."""
        if self._broker is None:
            address = self.settings.broker_address("operate")
            if self._topology is None:
                reason = "the broker's objects have no names"
                raise CannotSeeError(reason)
            self._broker = BrokerView(address, self._topology, clock=self.clock)
        return self._broker

    @property
    def ledger(self) -> LedgerView:
        """The ledger the settings name; raises ``CannotSeeError``."""
        return LedgerView(self.settings, clock=self.clock)

    async def management(self) -> Picture | ManagementError | None:
        """What the broker's management API shows; ``None`` where the settings name none."""
        address = self.settings.management_address()
        if address is not None and self._pictured is None:
            try:
                self._pictured = await look_at(address)
            except ManagementError as error:
                self._pictured = error
        return self._pictured

    async def picture(self) -> Picture:
        """The broker's virtual host as its management API shows it.

        Raises ``CannotSeeError``; always at a start, which must not depend on that API.
        """
        if self.at_start:
            raise CannotSeeError(NOT_VISIBLE)
        match await self.management():
            case None:
                raise CannotSeeError(NOT_VISIBLE, SET_MANAGEMENT)
            case ManagementError():
                raise CannotSeeError(NOT_SHOWN)
            case picture:
                return picture

    def endpoints(self) -> list[tuple[str, Endpoint]]:
        """Every provider endpoint with the name of its settings."""
        book = self.settings.route_book()
        return [
            (f"accounts.{name}.{mode}", endpoint)
            for name, account in sorted(book.accounts.items())
            for mode, endpoint in (("test", account.test), ("live", account.live))
            if endpoint is not None
        ]

    async def reached(self) -> list[tuple[str, Reached]]:
        """What became of a connection to each endpoint; nothing is asked of any."""
        if self._reached is None:
            endpoints = self.endpoints()
            found = await reach_all(
                [endpoint.base_url for _, endpoint in endpoints], self._trusted_certificates
            )
            names = [name for name, _ in endpoints]
            self._reached = list(zip(names, found, strict=True))
        return self._reached

    async def provider_times(self) -> list[tuple[str, RemoteTime | None]]:
        """The time of day at each endpoint; ``None`` where it does not tell."""
        endpoints = self.endpoints()
        times = await remote_times(
            [endpoint.base_url for _, endpoint in endpoints],
            clock=self.clock,
            trusted=self._trusted_certificates,
        )
        return list(zip([name for name, _ in endpoints], times, strict=True))
