"""Rules that tie several settings together: environments, time budgets, routes, the broker.

Sources: payment rules section 6 (M1 to M5), operations checks CFG003, CFG004 and CFG006.
"""

from collections.abc import Iterator
from datetime import date
from itertools import product
from math import ceil
from urllib.parse import urlsplit

from worker.model import Environment
from worker.rules import ENDING_SECONDS, Periods
from worker.settings.account_checks import account_findings
from worker.settings.accounts import EndpointSettings
from worker.settings.catalogue import Path
from worker.settings.faults import Finding
from worker.settings.root import KINDS, Settings
from worker.settings.values import is_loopback


def findings_of(settings: Settings, today: date) -> Iterator[Finding]:
    """Check settings as a whole; ``today`` decides whether ``force_live`` still holds."""
    yield from _budgets(settings)
    yield from _environments(settings, today)
    yield from _separation(settings)
    yield from _routes(settings)
    for name, account in settings.accounts.items():
        yield from account_findings(name, account)
    yield from _shares(settings)
    yield from _broker(settings)
    yield from _ledger(settings)
    yield from _retention(settings)


def _budgets(settings: Settings) -> Iterator[Finding]:
    timing, broker = settings.timing, settings.broker
    calls = timing.tries_seconds + timing.call_seconds
    work = timing.permit_seconds + calls + 2 * timing.publish_seconds
    rounds = ceil(broker.prefetch / broker.concurrency)
    if timing.drain_seconds < timing.stop_grace_seconds < timing.drain_seconds + ENDING_SECONDS:
        yield Finding(
            ("timing", "stop_grace_seconds"),
            f"After the drain a stop may take {ENDING_SECONDS:.0f} s more where the ledger is"
            " locked and the broker is away; killed before, calls under way end in doubt.",
            "CFG004",
            (("timing", "drain_seconds"),),
            is_warning=True,
        )
    for smaller, larger, left, right, rests_on in (
        (
            calls,
            timing.lease_seconds,
            "tries_seconds + call_seconds",
            "lease_seconds",
            ("lease_seconds", "tries_seconds", "call_seconds"),
        ),
        (
            work,
            timing.delivery_seconds,
            "permit_seconds + tries_seconds + call_seconds + 2 x publish_seconds",
            "delivery_seconds",
            (
                "delivery_seconds",
                "permit_seconds",
                "tries_seconds",
                "call_seconds",
                "publish_seconds",
            ),
        ),
        (
            timing.delivery_seconds,
            timing.drain_seconds,
            "delivery_seconds",
            "drain_seconds",
            ("drain_seconds", "delivery_seconds"),
        ),
        (
            timing.drain_seconds,
            timing.stop_grace_seconds,
            "drain_seconds",
            "stop_grace_seconds",
            ("stop_grace_seconds", "drain_seconds"),
        ),
    ):
        if smaller >= larger:
            first, *others = [("timing", name) for name in rests_on]
            yield Finding(
                first,
                f"Time limits must nest: {left} < {right} does not hold.",
                "CFG004",
                tuple(others),
            )
    if rounds * timing.delivery_seconds >= broker.consumer_timeout_seconds:
        yield Finding(
            ("broker", "prefetch"),
            "A message in hand must be done before the broker takes it back:"
            " ceil(prefetch / concurrency) x delivery_seconds < consumer_timeout_seconds"
            " does not hold.",
            "CFG004",
            (
                ("broker", "concurrency"),
                ("timing", "delivery_seconds"),
                ("broker", "consumer_timeout_seconds"),
            ),
        )


def _environments(settings: Settings, today: date) -> Iterator[Finding]:
    environment = ("environment",)
    leave = settings.force_live
    held = leave is not None and today <= leave.until
    live = [name for name, each in settings.accounts.items() if each.live is not None]
    for name, account in settings.accounts.items():
        path = ("accounts", name)
        if settings.environment is Environment.PRODUCTION:
            if account.live is None:
                yield Finding(
                    (*path, "live"),
                    "A production account needs its live endpoint.",
                    "CFG003",
                    (environment,),
                )
            if account.test is None:
                yield Finding(
                    (*path, "test"),
                    "TEST payments of this account will be refused.",
                    "CFG003",
                    (environment,),
                    is_warning=True,
                )
            continue
        if account.test is None:
            yield Finding(
                (*path, "test"),
                "A staging account needs its test endpoint.",
                "CFG003",
                (environment,),
            )
        if account.live is not None and not held:
            reason = "is past" if leave is not None else "is not set"
            yield Finding(
                (*path, "live"),
                f"Live credentials do not belong on staging: force_live.until {reason}.",
                "CFG003",
                (environment, ("force_live",)),
            )
    if leave is None or settings.environment is Environment.PRODUCTION:
        return
    if held:
        sentence = "Staging may call live endpoints until that day."
    elif not live:
        sentence = "It is past; remove the table."
    else:
        return
    yield Finding(("force_live", "until"), sentence, "CFG003", (environment,), is_warning=True)


def _separation(settings: Settings) -> Iterator[Finding]:
    """M1, M2: no live credential may be a test credential, of the same account or another."""
    accounts = settings.accounts.items()
    tests = [(name, each.test) for name, each in accounts if each.test is not None]
    lives = [(name, each.live) for name, each in accounts if each.live is not None]
    for (tested, test), (name, live) in product(tests, lives):
        path, other = ("accounts", name, "live"), ("accounts", tested, "test")
        if test.password.get_secret_value() == live.password.get_secret_value():
            yield Finding(
                (*path, "password"),
                f"It is also the test password of {tested}.",
                "CFG003",
                ((*other, "password"),),
            )
        if (test.base_url, test.login) == (live.base_url, live.login):
            yield Finding(
                (*path, "login"),
                f"Address and login are also the test set of {tested}.",
                "CFG003",
                ((*path, "base_url"), (*other, "base_url"), (*other, "login")),
            )
    for mode, endpoints in (("test", tests), ("live", lives)):
        for name, endpoint in endpoints:
            yield from _shape(("accounts", name, mode), endpoint)


def _shape(path: Path, endpoint: EndpointSettings) -> Iterator[Finding]:
    """Known spellings that tell a test credential from a live one (payment rules M2)."""
    password = endpoint.password.get_secret_value()
    host = urlsplit(endpoint.base_url).hostname or ""
    if path[-1] == "live" and password.startswith("testpassword_"):
        yield Finding(
            (*path, "password"), "A live password does not begin like a test password.", "CFG003"
        )
    if path[-1] == "test" and password.startswith("prodpassword_"):
        yield Finding(
            (*path, "password"), "A test password does not begin like a live password.", "CFG003"
        )
    if path[-1] == "live" and host.startswith(("preprod-", "recette-")):
        yield Finding((*path, "base_url"), "A live address does not lead to a test host.", "CFG003")


def _routes(settings: Settings) -> Iterator[Finding]:
    if not settings.accounts:
        yield Finding(("accounts",), "No provider account is configured.", "CFG006")
    seen: set[tuple[str, str | None]] = set()
    for place, rule in enumerate(settings.routes):
        path = ("routes", str(place))
        account = settings.accounts.get(rule.account)
        if account is None:
            yield Finding(
                (*path, "account"), "There is no account of this name.", "CFG006", (("accounts",),)
            )
        if (rule.target, rule.type) in seen:
            yield Finding(path, "Another rule before it serves the same target and type.", "CFG006")
        seen.add((rule.target, rule.type))
    if settings.routes:
        for name in settings.accounts.keys() - {rule.account for rule in settings.routes}:
            yield Finding(
                ("accounts", name),
                "No route leads to this account.",
                "CFG006",
                (("routes",),),
                is_warning=True,
            )
        return
    for kind in dict.fromkeys(KINDS.values()):
        if sum(account.provider is kind for account in settings.accounts.values()) > 1:
            yield Finding(
                ("routes",),
                f"Several {kind} accounts exist: say with [[routes]] which one serves what.",
                "CFG006",
                (("accounts",),),
            )


def _shares(settings: Settings) -> Iterator[Finding]:
    """One account that hangs must leave the others places to work with."""
    if len(settings.accounts) <= 1:
        return
    places = min(settings.broker.concurrency, settings.broker.prefetch)
    for name, account in settings.accounts.items():
        calls = account.limits.concurrent_calls
        if calls is not None and calls >= places:
            yield Finding(
                ("accounts", name, "limits", "concurrent_calls"),
                "This account alone can hold every message the worker may handle at a time;"
                " keep it well below broker.concurrency.",
                "CFG004",
                (("broker", "concurrency"), ("broker", "prefetch")),
                is_warning=True,
            )


def _broker(settings: Settings) -> Iterator[Finding]:
    broker = settings.broker
    if broker.concurrency > broker.prefetch:
        yield Finding(
            ("broker", "concurrency"),
            "It is more than prefetch ever delivers.",
            "CFG004",
            (("broker", "prefetch"),),
            is_warning=True,
        )
    if broker.endpoints and "host" in broker.model_fields_set:
        yield Finding(
            ("broker", "endpoints"),
            "It stands instead of broker.host, which is not used.",
            "CFG001",
            (("broker", "host"),),
            is_warning=True,
        )
    if not broker.tls and not all(is_loopback(host) for host, _ in broker.places()):
        yield Finding(
            ("broker", "tls"),
            "Payment links travel to the broker without TLS.",
            "SEC003",
            (("broker", "host"), ("broker", "endpoints")),
            is_warning=True,
        )
    if (broker.certificate_file is None) != (broker.key_file is None):
        yield Finding(
            ("broker", "key_file"),
            "A client certificate and its key come together.",
            "CFG001",
            (("broker", "certificate_file"),),
        )


def _ledger(settings: Settings) -> Iterator[Finding]:
    ledger, database = settings.ledger, settings.ledger.postgres
    if database is None:
        return
    path = ("ledger", "postgres")
    if "path" in ledger.model_fields_set:
        yield Finding(
            ("ledger", "path"),
            "One ledger only: give ledger.path for a SQLite file or ledger.postgres, not both.",
            "CFG001",
            (path,),
        )
    if "minimum_free_mib" in ledger.model_fields_set:
        yield Finding(
            ("ledger", "minimum_free_mib"),
            "It has no effect: the disk of a PostgreSQL server is not seen from here.",
            "CFG001",
            (path,),
            is_warning=True,
        )
    is_local = is_loopback(database.host) or database.host.startswith("/")  # a Unix socket
    if not database.tls and not is_local:
        yield Finding(
            (*path, "tls"),
            "Payment records travel to PostgreSQL without TLS.",
            "SEC003",
            ((*path, "host"),),
            is_warning=True,
        )
    if (database.certificate_file is None) != (database.key_file is None):
        yield Finding(
            (*path, "key_file"),
            "A client certificate and its key come together.",
            "CFG001",
            ((*path, "certificate_file"),),
        )


def _retention(settings: Settings) -> Iterator[Finding]:
    """What is erased must not be what a decision still needs (operations, check CFG005)."""
    kept, timing = settings.retention, settings.timing
    for smaller, larger, words, rests_on in (
        (
            kept.letters + timing.max_age,
            kept.rows,
            "letters + max_age <= rows",
            (("retention", "rows"), ("retention", "letters"), ("timing", "max_age")),
        ),
        (
            kept.links,
            kept.rows,
            "links <= rows",
            (("retention", "rows"), ("retention", "links")),
        ),
        (
            kept.emails,
            kept.links,
            "emails <= links",
            (("retention", "links"), ("retention", "emails")),
        ),
        (
            max(timing.max_age, timing.duplicate_window, timing.tombstone_age),
            kept.emails,
            "max_age, duplicate_window and tombstone_age <= emails",
            (
                ("retention", "emails"),
                ("timing", "max_age"),
                ("timing", "duplicate_window"),
                ("timing", "tombstone_age"),
            ),
        ),
    ):
        if smaller > larger:
            yield Finding(
                rests_on[0],
                f"What a replay or a repeat is judged by must outlive it: {words} does not hold.",
                "CFG005",
                rests_on[1:],
            )
    if kept.rows < Periods().rows:
        yield Finding(
            ("retention", "rows"),
            "The contract remembers a key for 13 months (397d): a request sent again under its"
            " old key after that time is a new payment.",
            "CFG005",
            is_warning=True,
        )
