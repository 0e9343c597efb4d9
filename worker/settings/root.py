"""All settings as one frozen value, and what the rest of the program gets out of it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from worker.model import Environment, Origin, PaymentTarget, PaymentType, ProviderKind, Secret
from worker.rules import (
    BrokerAddress,
    ManagementAddress,
    PostgresAddress,
    RouteBook,
    Rules,
    Subscriber,
    fair_share,
)
from worker.settings.accounts import AccountSettings
from worker.settings.layers import DELIMITER, PREFIX
from worker.settings.sections import (
    Broker,
    ForceLiveLeave,
    Ledger,
    Log,
    Operators,
    Probes,
    Results,
    Retention,
    RouteRule,
    Timing,
    Topology,
)
from worker.settings.values import AS_LIST, Name

Role = Literal["consume", "publish", "operate"]
"""What a connection is for; the broker shows it in the connection's name."""

KINDS = MappingProxyType(
    {
        PaymentTarget.LABANQUEPOSTALE: ProviderKind.LINK,
        PaymentTarget.PAYBOX: ProviderKind.LINK,
        PaymentTarget.MILLIET: ProviderKind.BASKET,
    }
)
"""The default rule of contract section 5: which kind of provider serves a target."""


class Settings(BaseSettings):
    """Every setting of one deployment; built by ``load`` alone, which also checks it as a whole."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_min_length=1,
    )

    environment: Environment = Field(
        description="`production` or `staging`; must match the broker."
    )
    deployment: Name = Field(
        default="payment-worker", description="Name of this deployment; the source of its events."
    )
    broker: Broker = Field(description="RabbitMQ.")
    topology: Topology = Field(default_factory=Topology, description="The broker's objects.")
    results: Results = Field(default_factory=Results, description="The answers.")
    ledger: Ledger = Field(description="The durable record.")
    retention: Retention = Field(default_factory=Retention, description="How long what is kept.")
    timing: Timing = Field(default_factory=Timing, description="Time limits and counts.")
    force_live: ForceLiveLeave | None = Field(default=None, description="Live calls from staging.")
    routes: Annotated[tuple[RouteRule, ...], AS_LIST] = Field(
        default=(), description="Which account serves what."
    )
    accounts: dict[Name, AccountSettings] = Field(
        default_factory=dict, description="Provider accounts."
    )
    operators: Operators = Field(default_factory=Operators, description="What operators may do.")
    event_loop: Literal["auto", "asyncio"] = Field(
        default="auto",
        description="`auto`: uvloop where it is installed, for speed; `asyncio`: Python's own.",
    )
    log: Log = Field(default_factory=Log, description="Logs.")
    probes: Probes = Field(default_factory=Probes, description="Health and metrics.")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what ``load`` hands over: ``sources`` has read and merged the rest."""
        return (init_settings,)

    def rules(self) -> Rules:
        """Time limits and counts of the payment flow."""
        return self.timing.rules()

    def route_book(self) -> RouteBook:
        """Every account and the routes to it."""
        places = min(self.broker.concurrency, self.broker.prefetch)
        share = fair_share(places, len(self.accounts))
        return RouteBook(
            environment=self.environment,
            routes=self.route_table(),
            accounts=MappingProxyType(
                {name: account.account(name, share) for name, account in self.accounts.items()}
            ),
            force_live=None if self.force_live is None else self.force_live.leave(),
        )

    def route_table(self) -> Mapping[tuple[PaymentTarget, PaymentType], str]:
        """Account of every (target, type) that has one; a rule for one type beats one for all.

        Without any rule the default holds, for each kind of provider with a single account.
        """
        table: dict[tuple[PaymentTarget, PaymentType], str] = {}
        for rule in sorted(self.routes, key=lambda rule: rule.type is not None):
            for each in PaymentType if rule.type is None else (rule.type,):
                table[rule.target, each] = rule.account
        if not self.routes:
            for target, kind in KINDS.items():
                names = [name for name, each in self.accounts.items() if each.provider is kind]
                if len(names) == 1:
                    table.update({(target, each): names[0] for each in PaymentType})
        return MappingProxyType(table)

    def broker_address(self, role: Role) -> BrokerAddress:
        """Where the broker is, for one of our connections."""
        return self.broker.address(f"{self.deployment} {role}")

    def management_address(self) -> ManagementAddress | None:
        """Where the broker's management API is; ``None`` where it is not used."""
        table = self.broker.management
        return None if table is None else table.address(self.broker.virtual_host)

    def subscribers(self) -> tuple[Subscriber, ...]:
        """Result queues and the origins they are bound for, ordered by name."""
        return tuple(
            Subscriber(name=name, origins=tuple(Origin(each) for each in origins))
            for name, origins in sorted(self.results.subscribers.items())
        )

    def ledger_keys(self) -> tuple[Secret, ...]:
        """Encryption keys of the ledger, newest first: 32 bytes each, URL-safe base64."""
        return tuple(Secret(key.get_secret_value()) for key in self.ledger.keys)

    def ledger_place(self) -> Path | PostgresAddress:
        """Where the ledger is: the path of a SQLite file, or a PostgreSQL database."""
        if self.ledger.postgres is not None:
            return self.ledger.postgres.address(self.deployment)
        return self.ledger.path

    def heartbeat_file(self) -> Path:
        """File that is rewritten while the loop ticks.

        With PostgreSQL nobody may give ``ledger.path``, so its default names the directory: the
        state directory of the unit and of the image.
        """
        return self.probes.heartbeat_file or self.ledger.path.with_name("heartbeat")
