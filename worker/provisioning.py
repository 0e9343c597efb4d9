"""The broker's objects before anything is consumed: declared where allowed, then verified."""

from typing_extensions import override

from worker.adapters.connection import (
    CLIENT_ERRORS,
    BrokerTroubleError,
    OnTrouble,
    TroubleKind,
    close_quietly,
)
from worker.adapters.endpoints import connect_patiently
from worker.adapters.topology import Finding, Verdict, declare, verify
from worker.ports import BrokerDirectory, Clock
from worker.settings import Settings
from worker.topology import Topology

_AGAIN_SECONDS = 1.0


class StartRefusedError(Exception):
    """The broker is not as it must be; ``findings`` name what is missing or different."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings)
        self.findings = findings

    @override
    def __str__(self) -> str:
        return "; ".join(f"{each.name}: {each.verdict} {each.reason}" for each in self.findings)


def topology_of(settings: Settings) -> Topology:
    """The broker's objects as these settings name them."""
    return Topology(
        environment=settings.environment,
        prefix=settings.broker.prefix,
        subscribers=settings.subscribers(),
    )


async def provision(
    settings: Settings, broker: BrokerDirectory, *, clock: Clock, on_trouble: OnTrouble
) -> None:
    """Declare or look at every object, however long the broker takes to be there.

    Raises ``StartRefusedError``, and ``TopologyRefusedError`` where declaring is refused.
    """
    topology = topology_of(settings)
    while True:
        connection = await connect_patiently(
            broker, role="setup", clock=clock, on_trouble=on_trouble
        )
        try:
            if settings.topology.declare:
                await declare(connection, topology)
            findings = await verify(connection, topology)
            if faults := [each for each in findings if bars_the_start(each, topology)]:
                raise StartRefusedError(faults)
        except (BrokerTroubleError, *CLIENT_ERRORS) as error:
            reason = f"it was lost while its objects were looked at: {type(error).__name__}"
            on_trouble(BrokerTroubleError(TroubleKind.LOST, reason), _AGAIN_SECONDS)
            await clock.sleep(_AGAIN_SECONDS)
        else:
            return
        finally:
            await close_quietly(connection)


def bars_the_start(finding: Finding, topology: Topology) -> bool:
    """Whether nothing may be consumed: also where nobody can tell whose broker this is."""
    marks = {topology.mark, *topology.foreign_marks}
    unseen = finding.verdict is Verdict.SKIP and finding.name in marks
    return finding.is_fault or unseen
