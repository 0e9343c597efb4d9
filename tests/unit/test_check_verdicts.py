"""What was seen, and the verdict on it: every pure rule of the doctor as a table."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.fakes_clock import START, FakeClock
from tests.settings_sample import SAMPLE, load_sample
from worker.adapters.remote_time import RemoteTime, compare
from worker.adapters.topology import Finding
from worker.adapters.topology import Verdict as Seen
from worker.checks import CHECKS, Deployment, Row, Verdict, choose, examine
from worker.checks.broker import (
    existence_remarks,
    heartbeat_remark,
    likeness_remarks,
    listed,
    mark_remarks,
)
from worker.checks.broker_view import Fate
from worker.checks.certificates import expiry
from worker.checks.clocks import clock_remark, provider_remark
from worker.checks.letters import aside_remark, depth_remark, doubt_remark
from worker.checks.probes import is_public
from worker.checks.providers import credentials_remark, endpoint_remark, look_up_remark
from worker.checks.publishing import publish_remark, return_remark
from worker.checks.queues import limit_remarks
from worker.checks.reach import Reached
from worker.checks.schemas import file_remarks
from worker.checks.system import offset_text, python_remark, space_remark
from worker.checks.verdicts import Blame, CannotSeeError, Remark
from worker.checks.versions import version_remarks
from worker.contract.schemas import documents
from worker.contract.times import time_text
from worker.inventory import Standing
from worker.messages import Publication
from worker.model import Environment, Fault, ProviderKind
from worker.settings.accounts import AccountSettings
from worker.topology import Topology

OURS = Topology(environment=Environment.STAGING)
MARK, FOREIGN = "payments.environment.staging", "payments.environment.production"


def verdicts(remarks: list[Remark]) -> list[tuple[Verdict, str]]:
    return [(each.verdict, each.about) for each in remarks]


def marks(ours: Seen, foreign: Seen) -> list[Finding]:
    return [
        Finding("exchange", MARK, ours),
        Finding("exchange", FOREIGN, foreign),
        Finding("bindings", "payments.*", Seen.SKIP),
    ]


@pytest.mark.parametrize(
    ("ours", "foreign", "expected"),
    [
        (Seen.OK, Seen.OK, [(Verdict.OK, MARK)]),
        (Seen.MISSING, Seen.OK, [(Verdict.FAIL, MARK)]),
        (Seen.OK, Seen.MISMATCH, [(Verdict.FAIL, FOREIGN)]),
        (Seen.MISSING, Seen.MISMATCH, [(Verdict.FAIL, MARK), (Verdict.FAIL, FOREIGN)]),
        (Seen.SKIP, Seen.OK, [(Verdict.FAIL, MARK)]),
        (Seen.OK, Seen.SKIP, [(Verdict.FAIL, FOREIGN)]),
    ],
)
def test_the_broker_must_carry_our_mark_and_no_other(
    ours: Seen, foreign: Seen, expected: list[tuple[Verdict, str]]
) -> None:
    """For the other environment's mark the topology says ``OK`` where it is absent.

    A mark that cannot be seen bars a start, so it fails here too.
    """
    assert verdicts(mark_remarks(marks(ours, foreign), OURS)) == expected


def test_missing_objects_fail_one_by_one_and_the_marks_are_not_counted() -> None:
    findings = [
        Finding("exchange", "payments.requests", Seen.OK),
        Finding("queue", "payments.work", Seen.MISSING, "NOT_FOUND"),
        Finding("queue", "payments.dlq", Seen.SKIP, "ACCESS_REFUSED"),
        *marks(Seen.MISSING, Seen.OK),
    ]
    remarks = existence_remarks(findings, OURS)
    assert verdicts(remarks) == [
        (Verdict.FAIL, "queue payments.work"),
        (Verdict.SKIP, "Existence of payments.dlq"),
        (Verdict.OK, "Objects"),
    ]
    assert remarks[-1].cause == "1 of 3 exist"


def test_what_an_object_is_made_of_is_ok_fail_or_not_visible() -> None:
    findings = [
        Finding("queue", "payments.work", Seen.MISMATCH, "inequivalent arg"),
        Finding("queue", "payments.dlq", Seen.SKIP, "no right"),
        Finding("exchange", "payments.dlx", Seen.OK),
        *marks(Seen.OK, Seen.OK),
    ]
    mismatch, unseen, alike = likeness_remarks(findings, OURS)
    assert (mismatch.verdict, mismatch.about) == (Verdict.FAIL, "queue payments.work")
    assert "inequivalent arg" in mismatch.cause
    assert unseen.verdict is Verdict.SKIP
    assert "not visible over AMQP" in unseen.cause
    assert (alike.verdict, alike.cause) == (Verdict.OK, "1 of 3 are as they must be")


@pytest.mark.parametrize(
    ("seen", "is_declared", "verdict"),
    [
        (Seen.OK, True, Verdict.OK),
        (Seen.OK, False, Verdict.OK),
        (Seen.MISMATCH, True, Verdict.FAIL),
        (Seen.MISMATCH, False, Verdict.SKIP),
        (Seen.SKIP, True, Verdict.SKIP),
        (Seen.MISSING, True, Verdict.SKIP),
        (None, False, Verdict.SKIP),
    ],
)
def test_a_limit_is_ok_only_where_an_identical_declaration_proves_it(
    *, seen: Seen | None, is_declared: bool, verdict: Verdict
) -> None:
    findings = {} if seen is None else {"q": Finding("queue", "q", seen, "words")}
    unseen = CannotSeeError("not visible", "Have a look.")
    (remark,) = limit_remarks(["q"], findings, is_declared=is_declared, unseen_because=unseen)
    assert remark.verdict is verdict
    if verdict is Verdict.SKIP:
        assert (remark.cause, remark.fix) == ("not visible", "Have a look.")


REFUSED = Fault("routing_key", "not_permitted", "ACCESS_REFUSED")
ABSENT = Fault("exchange", "exchange_missing", "NOT_FOUND")


@pytest.mark.parametrize(
    ("fate", "published", "blame", "returned"),
    [
        (Publication.UNROUTABLE, Verdict.OK, None, Verdict.OK),
        (Publication.CONFIRMED, Verdict.OK, None, Verdict.FAIL),
        (Publication.REFUSED, Verdict.FAIL, None, Verdict.SKIP),
        (Publication.UNKNOWN, Verdict.FAIL, Blame.UNREACHABLE, Verdict.SKIP),
        (REFUSED, Verdict.FAIL, None, Verdict.SKIP),
        (ABSENT, Verdict.SKIP, None, Verdict.SKIP),
    ],
)
def test_a_message_nobody_is_bound_for_must_come_back(
    fate: Fate, published: Verdict, blame: Blame | None, returned: Verdict
) -> None:
    remark = publish_remark("payments.results", fate)
    assert (remark.verdict, remark.blame) == (published, blame)
    assert return_remark("payments.results", fate).verdict is returned


@pytest.mark.parametrize(
    ("seconds", "is_warned"), [(9, True), (10, False), (15, False), (16, True), (60, True)]
)
def test_a_heartbeat_is_between_ten_and_fifteen_seconds(*, seconds: int, is_warned: bool) -> None:
    remark = heartbeat_remark(seconds)
    assert (remark is not None) is is_warned
    if remark is not None:
        assert f"{3 * (seconds + 1)} s" in remark.cause


def test_any_dead_letter_warns() -> None:
    assert depth_remark("q", 0).verdict is Verdict.OK
    assert depth_remark("q", 7) == Remark(
        verdict=Verdict.WARN, cause="7 waiting for a person", about="q"
    )


def test_what_was_set_aside_waits_for_nobody() -> None:
    assert aside_remark("q", 7) == Remark(
        verdict=Verdict.OK, cause="7 set aside by operators", about="q"
    )
    assert aside_remark("q", 0) == depth_remark("q", 0)


def test_the_oldest_dead_letter_is_told_where_the_ledger_knows_it() -> None:
    cause = depth_remark("q", 2, START).cause
    assert cause == f"2 waiting for a person, the oldest since {time_text(START)}"
    assert depth_remark("q", 0, START).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("doubts", "hours", "verdict"),
    [
        ({}, None, Verdict.OK),
        ({"safedebit": 0}, None, Verdict.OK),
        ({"safedebit": 2, "combo": 1}, 24, Verdict.OK),
        ({"safedebit": 2, "combo": 1}, 25, Verdict.WARN),
    ],
)
def test_a_payment_in_doubt_for_more_than_a_day_warns(
    doubts: dict[str, int], hours: int | None, verdict: Verdict
) -> None:
    oldest = None if hours is None else START - timedelta(hours=hours)
    standing = Standing(
        doubts=doubts, oldest_doubt=oldest, oldest_open=None, oldest_unpublished=None
    )
    remark = doubt_remark(standing, START)
    assert remark.verdict is verdict
    assert ("3, the oldest since" in remark.cause) is (hours is not None)


@pytest.mark.parametrize(
    ("seconds", "margin", "verdict"),
    [
        (0, 0, Verdict.OK),
        (2, 0, Verdict.OK),
        (-2, 0, Verdict.OK),
        (2.1, 0, Verdict.WARN),
        (-3, 0, Verdict.WARN),
        (20, 0, Verdict.WARN),
        (-20.1, 0, Verdict.FAIL),
        (31, 0, Verdict.FAIL),
        (3, 1, Verdict.OK),
        (21, 1, Verdict.WARN),
        (1, 9, Verdict.OK),
    ],
)
def test_a_clock_is_judged_by_what_is_sure(seconds: float, margin: float, verdict: Verdict) -> None:
    """A slow answer makes the other clock uncertain, which is nobody's fault."""
    remark = clock_remark(timedelta(seconds=seconds), "there", margin=timedelta(seconds=margin))
    assert remark.verdict is verdict
    if verdict is not Verdict.OK:
        assert f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}" in remark.cause


def test_a_provider_that_tells_no_time_is_no_ok() -> None:
    assert provider_remark("there", None).verdict is Verdict.SKIP
    far = RemoteTime(ahead=timedelta(seconds=60), margin=timedelta(seconds=1))
    assert provider_remark("there", far).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("offset", "travel", "ahead", "margin"), [(0, 0, 0.5, 0.5), (40, 2, 39.5, 1.5)]
)
def test_a_date_is_compared_with_the_middle_of_its_journey(
    offset: int, travel: int, ahead: float, margin: float
) -> None:
    """It tells whole seconds, so half of one is added, and is the least margin."""
    told = START.replace(microsecond=0)
    header = format_datetime(told + timedelta(seconds=offset), usegmt=True)
    found = compare(header, asked=told, answered=told + timedelta(seconds=travel))
    assert found == RemoteTime(ahead=timedelta(seconds=ahead), margin=timedelta(seconds=margin))


@pytest.mark.parametrize("header", ["", "yesterday", "Sat, 99 Nov 2026 10:00:00 GMT"])
def test_a_header_that_is_no_date_tells_nothing(header: str) -> None:
    assert compare(header, asked=START, answered=START) is None


@pytest.mark.parametrize(
    ("version", "verdicts"),
    [
        ("3.9.29", [Verdict.WARN]),
        ("3.10.0", [Verdict.OK]),
        ("3.10.8", [Verdict.OK]),
        ("3.13.7", [Verdict.OK]),
        ("4.1.4", [Verdict.OK]),
        ("4.2.5", [Verdict.WARN]),
        ("4.2.6", [Verdict.WARN, Verdict.WARN]),
        ("4.2.7", [Verdict.OK]),
        ("4.3.0", [Verdict.WARN, Verdict.WARN]),
        ("4.3.1", [Verdict.WARN, Verdict.WARN]),
        ("4.3.5", [Verdict.WARN]),
        ("4.4.0-rc.1", [Verdict.WARN]),
        ("", [Verdict.SKIP]),
        ("unknown", [Verdict.SKIP]),
    ],
)
def test_what_follows_from_a_brokers_version_is_told(version: str, verdicts: list[Verdict]) -> None:
    remarks = version_remarks(version)
    assert [each.verdict for each in remarks] == verdicts
    assert all(each.fix for each in remarks if each.verdict is Verdict.WARN)


@pytest.mark.parametrize(
    ("days", "verdict"),
    [
        (-1, Verdict.FAIL),
        (6, Verdict.FAIL),
        (7, Verdict.WARN),
        (29, Verdict.WARN),
        (30, Verdict.OK),
    ],
)
def test_a_certificate_is_renewed_in_time(days: int, verdict: Verdict) -> None:
    reached = Reached(place="x:443", expires=START + timedelta(days=days))
    assert expiry("x", reached, START).verdict is verdict


def test_a_certificate_that_was_not_seen_is_no_ok() -> None:
    assert expiry("x", Reached(place="x:443", trouble="refused"), START).verdict is Verdict.SKIP
    assert expiry("x", Reached(place="x:80"), START).verdict is Verdict.SKIP


def test_an_endpoint_that_does_not_answer_warns_only() -> None:
    assert endpoint_remark("a", Reached(place="x:443", trouble="refused")).verdict is Verdict.WARN
    secured = Reached(place="x:443", expires=START)
    assert endpoint_remark("a", secured).cause == "x:443 answers, TLS verified"
    assert endpoint_remark("a", Reached(place="x:80")).verdict is Verdict.OK


@pytest.mark.parametrize("kind", ProviderKind)
def test_credentials_that_nobody_asked_about_are_no_ok(kind: ProviderKind) -> None:
    assert credentials_remark("there", kind).verdict is Verdict.SKIP


def test_the_doctor_says_of_each_account_what_becomes_of_its_doubts() -> None:
    link, basket = (AccountSettings(provider=each) for each in ProviderKind)
    searched = AccountSettings(provider=ProviderKind.LINK, look_up=True)
    assert "search_payment" in look_up_remark("there", searched).cause
    assert "look_up is off" in look_up_remark("there", link).cause
    assert "no read" in look_up_remark("there", basket).cause


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10), Verdict.FAIL), ((3, 11), Verdict.OK), ((3, 14), Verdict.OK), ((4, 0), Verdict.OK)],
)
def test_python_is_recent_enough(version: tuple[int, int], verdict: Verdict) -> None:
    assert python_remark(version, "asyncio 3.11.2").verdict is verdict


@pytest.mark.parametrize(("free", "verdict"), [(199, Verdict.FAIL), (200, Verdict.OK)])
def test_below_the_least_free_space_is_a_failure(
    free: int, verdict: Verdict, tmp_path: Path
) -> None:
    assert space_remark(tmp_path, free, 200).verdict is verdict


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("10.0.0.5", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104 - the address under test
        ("::", True),
        ("8.8.8.8", True),
        ("[2600::1]", True),
    ],
)
def test_an_address_open_to_everybody_is_public(*, host: str, expected: bool) -> None:
    assert is_public(host) is expected


@pytest.mark.parametrize(
    ("minutes", "text"), [(0, "+00:00"), (60, "+01:00"), (-210, "-03:30"), (345, "+05:45")]
)
def test_an_offset_is_written_as_people_write_it(minutes: int, text: str) -> None:
    assert offset_text(timedelta(minutes=minutes)) == text


def test_a_long_list_of_names_is_cut() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_schema_files_are_compared_where_there_are_any(tmp_path: Path) -> None:
    assert [each.verdict for each in file_remarks(tmp_path)] == [Verdict.SKIP]
    for name, text in documents().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    assert [each.verdict for each in file_remarks(tmp_path)] == [Verdict.OK]
    first, second, *_ = sorted(documents())
    (tmp_path / first).unlink()
    (tmp_path / second).write_text("{}")
    assert verdicts(file_remarks(tmp_path)) == [(Verdict.FAIL, first), (Verdict.FAIL, second)]


async def examined(deployment: Deployment, only: str) -> list[Row]:
    chosen = choose(CHECKS, only=[only], at_start=False)
    return [row async for row in examine(deployment, CHECKS, chosen)]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Move this process to another time zone, and back."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


async def test_a_process_outside_utc_is_warned_of(zone: Callable[[str], None]) -> None:
    zone("UTC")
    (row,) = await examined(Deployment(clock=FakeClock()), "SYS004")
    assert row.verdict is Verdict.OK
    zone("Europe/Paris")
    (row,) = await examined(Deployment(clock=FakeClock()), "SYS004")
    assert (row.verdict, row.cause) == (Verdict.WARN, "the process runs at UTC+01:00")
    assert "TZ=UTC" in row.fix


async def test_the_state_directory_must_be_there_and_have_room(tmp_path: Path) -> None:
    async def row_of(lines: str) -> Row:
        loaded = load_sample(tmp_path, f"{SAMPLE}\n[ledger]\n{lines}")
        (row,) = await examined(Deployment(clock=FakeClock(), loaded=loaded), "SYS003")
        return row

    path = f'path = "{tmp_path}/ledger.sqlite3"\n'
    assert (await row_of(path)).verdict is Verdict.OK
    full = await row_of(f"{path}minimum_free_mib = 1000000000\n")
    assert full.verdict is Verdict.FAIL
    assert "1000000000 MiB are needed" in full.cause
    missing = await row_of(f'path = "{tmp_path}/none/ledger.sqlite3"\n')
    assert (missing.verdict, missing.cause) == (Verdict.FAIL, "there is no such directory")
