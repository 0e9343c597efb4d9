"""Rules within one provider account: what its provider needs, and what it has no use for."""

from collections.abc import Iterator

from worker.model import Account, Operation, ProviderKind
from worker.providers import check_company
from worker.providers.link_fields import check_fields
from worker.routing import missing_for_company
from worker.settings.accounts import AccountSettings, EndpointSettings
from worker.settings.catalogue import Path
from worker.settings.faults import Finding

_OPERATIONS = {
    ProviderKind.LINK: frozenset({Operation.GET_LINK_PAYMENT}),
    ProviderKind.BASKET: frozenset({Operation.ADD_BASKET_ITEM, Operation.REMOVE_BASKET_ITEM}),
}
_FOREIGN = {
    ProviderKind.LINK: ("basket_page_url", "cancellable"),
    ProviderKind.BASKET: ("fields", "look_up"),
}


def account_findings(name: str, settings: AccountSettings) -> Iterator[Finding]:
    """Check one account and the companies of both its endpoints (CFG006)."""
    path = ("accounts", name)
    kind = settings.provider
    for operation in settings.classes.keys() - _OPERATIONS[kind]:
        yield Finding(
            (*path, "classes", operation), f"A {kind} account has no such operation.", "CFG006"
        )
    for foreign in _FOREIGN[kind]:
        if foreign in settings.model_fields_set:
            yield Finding((*path, foreign), f"A {kind} account has no use for it.", "CFG006")
    if kind is ProviderKind.LINK:
        for complaint in check_fields(settings.fields):
            field_name, _, sentence = complaint.partition(": ")
            yield Finding((*path, "fields", field_name), _sentence(sentence), "CFG006")
    account = settings.account(name)
    for mode, endpoint in (("test", settings.test), ("live", settings.live)):
        if endpoint is not None:
            yield from _endpoint((*path, mode), endpoint, account)


def _endpoint(path: Path, endpoint: EndpointSettings, account: Account) -> Iterator[Finding]:
    if account.provider is ProviderKind.LINK and not endpoint.link_hosts:
        yield Finding(
            (*path, "link_hosts"), "A link account must list the hosts of its links.", "CFG006"
        )
    if not endpoint.companies:
        yield Finding((*path, "companies"), "No company is configured here.", "CFG006")
    for number, company in endpoint.core_companies().items():
        place = (*path, "companies", number)
        for missing in missing_for_company(account, company):
            yield Finding((*place, missing), f"A {account.provider} company needs it.", "CFG006")
        for complaint in check_company(account.provider, company):
            name, _, sentence = complaint.partition(": ")
            yield Finding((*place, name), _sentence(sentence), "CFG006")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
