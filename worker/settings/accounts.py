"""The settings of provider accounts: two separate sets of credentials, companies, classes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from worker.model import (
    Account,
    Cents,
    Company,
    Endpoint,
    Limits,
    Operation,
    OperationClass,
    ProviderKind,
    Secret,
)
from worker.settings.values import BaseUrl, Hosts, Login, Name, PageUrl, Password, Section, Whole

CompanyNumber = Annotated[str, Field(min_length=1, max_length=32)]


class CompanySettings(Section):
    """What one company needs at one endpoint; which of it is a must depends on the provider."""

    beneficiary_reference: str | None = Field(
        default=None, description="Who is paid, as the provider knows them (link)."
    )
    phone_number: str | None = Field(
        default=None, description="The payer's phone number the provider demands (link)."
    )
    url_callback: str | None = Field(
        default=None, description="Where the provider returns to; may hold {reference} (link)."
    )
    regie_id: str | None = Field(default=None, description="Cash desk, by id or slug (basket).")
    item_url: str | None = Field(
        default=None, description="Our address in an item; must hold {reference} (basket)."
    )
    display_name: str | None = Field(
        default=None, description="Text the citizen sees; may hold {id_commande} (basket)."
    )

    def company(self, number: str) -> Company:
        """Core value of this table."""
        return Company(id_societe=number, **self.model_dump())


class EndpointSettings(Section):
    """One provider endpoint: test or live, never both."""

    base_url: BaseUrl = Field(description="Address up to, and without, the operation's name.")
    login: Login = Field(description="Basic login (link), or `orig` (basket).")
    password: Password = Field(description="Basic password (link), or the signing key (basket).")
    link_hosts: Hosts = Field(
        default=(), description="Hosts a payment link may point to; a must for link."
    )
    companies: dict[CompanyNumber, CompanySettings] = Field(
        default_factory=dict, description="What each company needs here."
    )

    def endpoint(self) -> Endpoint:
        """Core value of this table."""
        return Endpoint(
            base_url=self.base_url,
            login=self.login,
            password=Secret(self.password.get_secret_value()),
            link_hosts=frozenset(self.link_hosts),
        )

    def core_companies(self) -> Mapping[str, Company]:
        """Core values of the companies, by number."""
        return MappingProxyType(
            {number: settings.company(number) for number, settings in self.companies.items()}
        )


class ClassOverride(Section):
    """What may be repeated after an unknown outcome, where it was confirmed to differ."""

    operation_class: OperationClass = Field(description="A, B, C, D or E (payment rules).")
    reason: Annotated[str, Field(min_length=10)] = Field(
        description="Who confirmed it, when, and how."
    )


class LimitSettings(Section):
    """How hard an account may be called."""

    concurrent_calls: Whole | None = Field(
        default=None,
        gt=0,
        le=10000,
        description="Calls under way at once; none: an even share of `broker.concurrency`.",
    )
    calls_per_second: float = Field(
        default=0.0, ge=0, le=10000, description="New calls per second; 0: no limit."
    )


class AccountSettings(Section):
    """One account at one provider."""

    provider: ProviderKind = Field(description="`link` or `basket`.")
    test: EndpointSettings | None = Field(default=None, description="Where TEST payments go.")
    live: EndpointSettings | None = Field(default=None, description="Where LIVE payments go.")
    classes: dict[Operation, ClassOverride] = Field(
        default_factory=dict, description="Operation classes that differ from the careful default."
    )
    fields: dict[Name, str] = Field(
        default_factory=dict, description="Further fields of the provider, checked (link)."
    )
    basket_page_url: PageUrl | None = Field(
        default=None, description="Link handed out where the provider gives none (basket)."
    )
    cancellable: bool | None = Field(
        default=None, description="Whether the citizen may delete the item (basket)."
    )
    look_up: bool = Field(
        default=False,
        description="Whether doubtful payments are looked up by `search_payment` (link).",
    )
    max_amount: Whole | None = Field(
        default=None, gt=0, description="Highest amount accepted, in cents."
    )
    limits: LimitSettings = Field(
        default_factory=LimitSettings, description="How hard the account may be called."
    )

    def account(self, name: str, share: Limits | None = None) -> Account:
        """Core value of this table; ``share`` is what holds where no limit is set."""
        share = share or Limits()
        return Account(
            name=name,
            provider=self.provider,
            test=self.test.endpoint() if self.test else None,
            live=self.live.endpoint() if self.live else None,
            classes=MappingProxyType(
                {name: override.operation_class for name, override in self.classes.items()}
            ),
            test_companies=self.test.core_companies() if self.test else MappingProxyType({}),
            live_companies=self.live.core_companies() if self.live else MappingProxyType({}),
            fields=MappingProxyType(dict(self.fields)),
            basket_page_url=self.basket_page_url,
            cancellable=self.cancellable,
            look_up=self.look_up,
            max_amount=None if self.max_amount is None else Cents(self.max_amount),
            limits=Limits(
                concurrent_calls=self.limits.concurrent_calls or share.concurrent_calls,
                calls_per_second=self.limits.calls_per_second,
                waiting_calls=share.waiting_calls,
            ),
        )
