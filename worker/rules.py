"""The numbers an operator may set, each with the reason for its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from worker.model import (
    Account,
    Cents,
    Environment,
    Limits,
    Origin,
    PaymentTarget,
    PaymentType,
    Secret,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Time limits and counts of the payment flow.

    ``call_seconds`` bounds one provider call; ``tries`` and ``tries_seconds`` bound the calls
    inside one delivery; ``lease_seconds`` must exceed both together, so that no call is under
    way when a claim expires (payment rules, invariant I2), and fits the ladder's two minutes, so
    that a payment whose worker died is taken up again after them; ``publish_seconds`` bounds one
    publish and ``delivery_seconds`` everything about one delivery.
    """

    call_seconds: float = 45.0
    tries: int = 3
    tries_seconds: float = 15.0
    lease_seconds: float = 110.0
    permit_seconds: float = 1.0
    publish_seconds: float = 10.0
    delivery_seconds: float = 120.0
    max_age: timedelta = timedelta(hours=24)
    duplicate_window: timedelta = timedelta(minutes=15)
    tombstone_age: timedelta = timedelta(hours=24)

    @property
    def content_age(self) -> timedelta:
        """How long after its decision a payment's content is what another request is judged by.

        A second request may be made within ``duplicate_window``, and wait as long as any; a replay
        that it supersedes is no older (contract section 2).
        """
        return self.duplicate_window + self.max_age

    @property
    def patience_seconds(self) -> float:
        """What a delivery's time leaves for waiting, beyond its calls and its publishes."""
        calls = self.tries_seconds + self.call_seconds
        needed = self.permit_seconds + calls + 2 * self.publish_seconds
        return max(0.0, self.delivery_seconds - needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """How long the ledger keeps what (payment rules section 7), each from the decision on.

    ``emails``: an e-mail, its mark and the fingerprint that contains it. ``links``: a payment
    link; one may be payable for 90 days, and 30 more are its record. ``rows``: everything else of
    an operation; 13 months of at most 397 days, for which its key must be known (contract section
    2). ``letters``: how old a dead letter may grow before a person has seen to it.
    """

    emails: timedelta = timedelta(days=30)
    links: timedelta = timedelta(days=120)
    rows: timedelta = timedelta(days=397)
    letters: timedelta = timedelta(days=180)


TOLERATED_SKEW = timedelta(seconds=2)
"""Between two clocks that are kept in time; a signed request is refused at 30 seconds."""

RECORDING_SECONDS = 8.0
"""How long a claim or an outcome may outlive the cancellation of its task: what was not written
by then is taken out of the ledger's queue (a claim) or left in it (an outcome)."""

CANCELLED_SECONDS = RECORDING_SECONDS + 1.0
"""How long the consumer waits for handlers it has cancelled."""

LOCK_SECONDS = 5.0
"""How long the ledger waits for a lock at a time; a closing one waits no second time."""

CLOSING_SECONDS = 5.0
"""How long closing a broker connection may take, where the broker is gone."""

SIGN_OFF_SECONDS = 1.0
"""How long an ending worker tries to take back what it told operators of itself."""

ENDING_SECONDS = CANCELLED_SECONDS + SIGN_OFF_SECONDS + LOCK_SECONDS + CLOSING_SECONDS
"""What a stop may take beyond the drain, or after a second signal, when everything is stuck.

The steps come one after another: handlers are cancelled and record what they know, the worker
signs off, connections are closed (both at once), the ledger writes what is queued. The supervisor
must give at least that much (``stop_grace_seconds``).
"""

LEAST_CALLS = 10
"""An account's own calls at least, where many accounts share a worker."""


def fair_share(places: int, accounts: int) -> Limits:
    """An account's limits where it shares a worker's places with others.

    Its calls and its waiting deliveries together fit into an even share of the places, so that
    an account that never answers cannot take what the others work with; a fifth of the share is
    for waiting. Beyond four accounts at fifty places ``LEAST_CALLS`` goes first. An account
    that shares with nobody has all of them.
    """
    if accounts <= 1:
        return Limits(concurrent_calls=places, waiting_calls=places)
    share = places // accounts
    waiting = max(1, share // 5)
    calls = max(1, share - waiting, min(LEAST_CALLS, places // 2))
    return Limits(concurrent_calls=calls, waiting_calls=waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceLive:
    """Leave to call live endpoints from staging: a date, named origins, a highest amount."""

    until: date
    origins: frozenset[Origin]
    max_amount: Cents


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBook:
    """Every account and which (target, type) goes to which; routing takes it as a value."""

    environment: Environment
    routes: Mapping[tuple[PaymentTarget, PaymentType], str]
    accounts: Mapping[str, Account]
    force_live: ForceLive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and who we are there; ``heartbeat`` in seconds.

    A half-open connection is noticed after three times (heartbeat + 1): measured 9.1 s at 2,
    48 s at 15, 183 s at the client's default of 60. ``others`` are further endpoints, as host and
    port, that lead to the same broker: the nodes of a cluster.
    """

    host: str = "localhost"
    port: int = 5672
    virtual_host: str = "payments"
    user: str = "guest"
    password: Secret = field(default_factory=lambda: Secret("guest"))
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    heartbeat: int = 15
    connection_name: str = "payment-worker"
    others: tuple[tuple[str, int], ...] = ()

    @property
    def place(self) -> str:
        """The first endpoint, as people write it."""
        return f"{self.host}:{self.port}"

    def addresses(self) -> tuple["BrokerAddress", ...]:
        """One address for each endpoint, in order; implements ``ports.BrokerDirectory``."""
        alone = replace(self, others=())
        return (alone, *(replace(alone, host=host, port=port) for host, port in self.others))


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementAddress:
    """Where the broker's management API is, who we are there, and the virtual host looked at."""

    url: str
    user: str
    password: Secret
    ca_file: str | None = None
    virtual_host: str = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """Where the shared ledger is and who we are there; one database holds one ledger."""

    host: str = "localhost"
    port: int = 5432
    database: str = "payment_worker"
    user: str = "payment_worker"
    password: Secret | None = None
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    application_name: str = "payment-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """A result queue ``<prefix>results.<name>`` and the origins it is bound for."""

    name: str
    origins: tuple[Origin, ...]
