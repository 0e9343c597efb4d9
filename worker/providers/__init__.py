"""The provider APIs this worker speaks: pure functions from requests to bytes and back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from worker.model import Company, ProviderKind
from worker.ports import Provider
from worker.providers.basket import BasketProvider, check_basket_company
from worker.providers.link import LinkProvider
from worker.providers.link_fields import check_link_company

PROVIDERS: Mapping[ProviderKind, Provider] = MappingProxyType(
    {ProviderKind.LINK: LinkProvider(), ProviderKind.BASKET: BasketProvider()}
)


def check_company(kind: ProviderKind, company: Company) -> list[str]:
    """Return what is wrong with a company's values for this provider, as sentences.

    They name the setting, never its value; a missing setting is ``missing_for_company``'s.
    """
    match kind:
        case ProviderKind.LINK:
            return check_link_company(company)
        case ProviderKind.BASKET:
            return check_basket_company(company)
        case other:
            assert_never(other)
