"""The tables of the settings that concern this worker itself: broker, ledger, time, reporting."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from worker.model import Cents, Origin, PaymentTarget, PaymentType, Secret
from worker.rules import (
    BrokerAddress,
    ForceLive,
    ManagementAddress,
    Periods,
    PostgresAddress,
    Rules,
)
from worker.settings.values import (
    BaseUrl,
    BrokerEndpoints,
    Duration,
    Keys,
    Login,
    Name,
    Origins,
    Password,
    Seconds,
    Section,
    Whole,
    split_endpoint,
)

_RULES = Rules()
_ADDRESS = BrokerAddress()
_DATABASE = PostgresAddress()
_PERIODS = Periods()


class Management(Section):
    """The broker's management API: what AMQP does not show, for `payment-worker check` alone."""

    url: BaseUrl = Field(
        description="Address of RabbitMQ's management API, without `/api`; only `check` asks it."
    )
    user: Login = Field(description="A user of its own, with the tag `management` and no rights.")
    password: Password = Field(description="Its password; from a secret file.")
    ca_file: Path | None = Field(
        default=None, description="Certificate authority of that address; none: the system's."
    )

    def address(self, virtual_host: str) -> ManagementAddress:
        """Core value of this table, for one virtual host."""
        return ManagementAddress(
            url=self.url,
            user=self.user,
            password=Secret(self.password.get_secret_value()),
            ca_file=_text(self.ca_file),
            virtual_host=virtual_host,
        )


class Broker(Section):
    """RabbitMQ: address, login, and how much is taken at a time."""

    host: str = Field(default=_ADDRESS.host, description="Host name or address of RabbitMQ.")
    port: Whole = Field(default=_ADDRESS.port, gt=0, lt=65536, description="AMQP port; 5671: TLS.")
    endpoints: BrokerEndpoints = Field(
        default=(),
        description="Nodes of a cluster instead of `host`: host or host:port, taken in turn.",
    )
    virtual_host: str = Field(default=_ADDRESS.virtual_host, description="Virtual host.")
    user: str = Field(description="User; the worker's own, with least privileges.")
    password: Password = Field(description="Password; from a secret file.")
    tls: bool = Field(default=False, description="Whether to use TLS; it is always verified.")
    ca_file: Path | None = Field(
        default=None, description="Certificate authority of the broker; none: the system's."
    )
    certificate_file: Path | None = Field(
        default=None, description="Client certificate, where the broker asks for one."
    )
    key_file: Path | None = Field(default=None, description="Key of the client certificate.")
    heartbeat: Whole = Field(
        default=_ADDRESS.heartbeat,
        ge=1,
        le=60,
        description="Seconds; a half-open connection is noticed after 3 x (heartbeat + 1).",
    )
    prefix: str = Field(
        default="payments.",
        pattern=r"^[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*\.$",
        max_length=64,
        description="Beginning of the name of every exchange and queue; ends in a dot.",
    )
    prefetch: Whole = Field(
        default=50, gt=0, le=10000, description="Messages the broker hands over in advance."
    )
    concurrency: Whole = Field(
        default=50, gt=0, le=10000, description="Messages worked on at the same time."
    )
    consumer_timeout_seconds: Seconds = Field(
        default=1800.0, description="The broker's own limit for an acknowledgement (30 minutes)."
    )
    management: Management | None = Field(
        default=None, description="Management API; none: what AMQP does not show stays unseen."
    )

    def places(self) -> list[tuple[str, int]]:
        """Host and port of every endpoint; a setting of its own only where there are several."""
        return [split_endpoint(each, self.port) for each in self.endpoints] or [
            (self.host, self.port)
        ]

    def address(self, connection_name: str) -> BrokerAddress:
        """Core value of this table; ``connection_name`` is what the broker shows for it."""
        (host, port), *others = self.places()
        return BrokerAddress(
            host=host,
            port=port,
            others=tuple(others),
            virtual_host=self.virtual_host,
            user=self.user,
            password=Secret(self.password.get_secret_value()),
            tls=self.tls,
            ca_file=_text(self.ca_file),
            certificate_file=_text(self.certificate_file),
            key_file=_text(self.key_file),
            heartbeat=self.heartbeat,
            connection_name=connection_name,
        )


class Topology(Section):
    """Who creates the broker's objects."""

    declare: bool = Field(
        default=False,
        description="Create exchanges and queues at start; off where an administrator does.",
    )


class Results(Section):
    """Who gets the answers."""

    subscribers: dict[Name, Origins] = Field(
        default_factory=dict,
        description="Origins whose results go to the queue `results.<name>`.",
    )


class Postgres(Section):
    """A PostgreSQL database as the ledger: for workers on many hosts."""

    # The host is a must: a forgotten secret file alone must not choose another ledger.
    host: str = Field(description="Host name or address of PostgreSQL, instead of `ledger.path`.")
    port: Whole = Field(default=_DATABASE.port, gt=0, lt=65536, description="Its port.")
    database: str = Field(
        default=_DATABASE.database,
        description="Database, holding this one ledger; `payment-worker ledger init` fills it.",
    )
    user: str = Field(default=_DATABASE.user, description="Role that owns the ledger's tables.")
    password: Password | None = Field(
        default=None, description="Password; from a secret file. None: a client certificate."
    )
    tls: bool = Field(default=False, description="Whether to use TLS; it is always verified.")
    ca_file: Path | None = Field(
        default=None, description="Certificate authority of the server; none: the system's."
    )
    certificate_file: Path | None = Field(
        default=None, description="Client certificate, where the server asks for one."
    )
    key_file: Path | None = Field(default=None, description="Key of the client certificate.")

    def address(self, application_name: str) -> PostgresAddress:
        """Core value of this table; ``application_name`` is what the server shows for us."""
        return PostgresAddress(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=None if self.password is None else Secret(self.password.get_secret_value()),
            tls=self.tls,
            ca_file=_text(self.ca_file),
            certificate_file=_text(self.certificate_file),
            key_file=_text(self.key_file),
            application_name=application_name,
        )


class Ledger(Section):
    """The durable record of every payment."""

    path: Path = Field(
        default=Path("/var/lib/payment-worker/ledger.sqlite3"),
        description="SQLite file, unless there is a `ledger.postgres`; made by `ledger init` only.",
    )
    postgres: Postgres | None = Field(default=None, description="PostgreSQL instead of a file.")
    keys: Keys = Field(
        description="Encryption keys, newest first; keep the old one while rotating.",
    )
    minimum_free_mib: Whole = Field(
        default=200,
        ge=1,
        description="Below this much free space nothing new is claimed (MiB; SQLite).",
    )


class Retention(Section):
    """How long the ledger keeps what, counted from the decision on."""

    emails: Duration = Field(
        default=_PERIODS.emails,
        gt=timedelta(0),
        description="E-mails, with the fingerprints that contain them (days: 30d).",
    )
    links: Duration = Field(
        default=_PERIODS.links,
        gt=timedelta(0),
        description="Payment links: their longest life, 90 days, and 30 more.",
    )
    rows: Duration = Field(
        default=_PERIODS.rows,
        gt=timedelta(0),
        description="All else of an operation: 13 months, for which its key must be known.",
    )
    letters: Duration = Field(
        default=_PERIODS.letters,
        gt=timedelta(0),
        description="How old a dead letter may grow until somebody has seen to it.",
    )
    every: Duration = Field(
        default=timedelta(hours=1),
        ge=timedelta(0),
        description="How often a worker erases what is due; 0: `ledger maintain` alone does.",
    )

    def periods(self) -> Periods:
        """Core value of this table."""
        return Periods(emails=self.emails, links=self.links, rows=self.rows, letters=self.letters)


class Timing(Section):
    """Time limits and counts; the numbers nest, and a set that does not is refused."""

    call_seconds: Seconds = Field(
        default=_RULES.call_seconds, description="One provider call, connection included."
    )
    tries: Whole = Field(
        default=_RULES.tries, ge=1, le=10, description="Provider calls within one delivery."
    )
    tries_seconds: Seconds = Field(
        default=_RULES.tries_seconds, description="Time in which a further try may still start."
    )
    lease_seconds: Seconds = Field(
        default=_RULES.lease_seconds, description="How long a claim keeps other workers away."
    )
    permit_seconds: Seconds = Field(
        default=_RULES.permit_seconds, description="Wait for a free place at a provider account."
    )
    publish_seconds: Seconds = Field(
        default=_RULES.publish_seconds, description="One publication, its confirm included."
    )
    delivery_seconds: Seconds = Field(
        default=_RULES.delivery_seconds, description="Everything about one delivery."
    )
    drain_seconds: Seconds = Field(
        default=130.0, description="Time for work in flight after a request to stop."
    )
    stop_grace_seconds: Seconds = Field(
        default=150.0, description="When the supervisor kills (TimeoutStopSec, grace period)."
    )
    max_age: Duration = Field(
        default=_RULES.max_age, description="Older requests start no new attempt."
    )
    duplicate_window: Duration = Field(
        default=_RULES.duplicate_window,
        description="How long an equal request under another key is a duplicate; 0: never.",
    )
    tombstone_age: Duration = Field(
        default=_RULES.tombstone_age,
        description="How long a cancellation waits for a payment that never came.",
    )

    def rules(self) -> Rules:
        """Core value of this table."""
        return Rules(
            call_seconds=self.call_seconds,
            tries=self.tries,
            tries_seconds=self.tries_seconds,
            lease_seconds=self.lease_seconds,
            permit_seconds=self.permit_seconds,
            publish_seconds=self.publish_seconds,
            delivery_seconds=self.delivery_seconds,
            max_age=self.max_age,
            duplicate_window=self.duplicate_window,
            tombstone_age=self.tombstone_age,
        )


def _day(value: object) -> object:
    """Only a calendar day: pydantic alone takes digits for a Unix time (measured, 2.14.3)."""
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise PydanticCustomError("day", "Give a day as 2026-12-31.") from error
    if isinstance(value, datetime) or not isinstance(value, date):
        raise PydanticCustomError("day", "Give a day as 2026-12-31.")
    return value


class ForceLiveLeave(Section):
    """Leave for a staging deployment to call live endpoints."""

    until: Annotated[date, BeforeValidator(_day)] = Field(description="Last day it holds.")
    origins: Origins = Field(description="Origins that may use it.")
    max_amount: Whole = Field(gt=0, description="Highest amount, in cents.")

    def leave(self) -> ForceLive:
        """Core value of this table."""
        return ForceLive(
            until=self.until,
            origins=frozenset(Origin(name) for name in self.origins),
            max_amount=Cents(self.max_amount),
        )


class Operators(Section):
    """What operators may do beyond putting letters back to work as they are."""

    may_edit_email: bool = Field(
        default=False,
        description="Whether `dead-letters edit` may change the e-mail of a payment that failed.",
    )
    approval_letters: Whole = Field(
        default=0,
        ge=0,
        description="A replay of more letters needs `dead-letters approve` by another account; 0:"
        " never.",
    )
    approval_cents: Whole = Field(
        default=0,
        ge=0,
        description="So does one of more cents of real money; 0: never.",
    )


class RouteRule(Section):
    """Where one target, or one type of it, is paid."""

    target: PaymentTarget = Field(description="Payment target.")
    type: PaymentType | None = Field(default=None, description="Payment type; none: all of them.")
    account: Name = Field(description="Name of the account that serves it.")


class Log(Section):
    """What the worker says about itself."""

    format: Literal["json", "console"] = Field(
        default="json", description="One JSON object per line, or text for a terminal."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written."
    )


class Probes(Section):
    """The small port for health and metrics, and the file that says the worker is alive."""

    enabled: bool = Field(default=True, description="Whether to open the port.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Whole = Field(
        default=9464, ge=0, lt=65536, description="Port of /healthz, /readyz, /metrics; 0: any."
    )
    heartbeat_file: Path | None = Field(
        default=None,
        description="Rewritten while the loop ticks; none: `heartbeat` beside the SQLite file,"
        " with PostgreSQL in `/var/lib/payment-worker`.",
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
