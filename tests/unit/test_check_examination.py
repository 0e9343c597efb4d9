"""Running checks: choosing them, keeping each within its limit, and what they come to."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.fakes_clock import FakeClock
from worker.checks import CHECKS, Deployment, Row, UnknownCheckError, choose, examine, gravest
from worker.checks.check import Check, Look
from worker.checks.verdicts import (
    Blame,
    CannotSeeError,
    Group,
    NotReachedError,
    Remark,
    Verdict,
    fail,
    ok,
    skip,
    warn,
)
from worker.cli.check import ending

PRIVATE = "correct horse battery staple"


def saying(*remarks: Remark) -> Look:
    async def look(_deployment: Deployment) -> Sequence[Remark]:
        return remarks

    return look


def raising(error: BaseException) -> Look:
    async def look(_deployment: Deployment) -> Sequence[Remark]:
        raise error

    return look


def check(
    name: str,
    look: Look,
    *,
    needs: tuple[str, ...] = (),
    blame: Blame = Blame.DEFECT,
    at_start: bool = False,
    seconds: float = 10.0,
) -> Check:
    return Check(
        id=name,
        group=Group.SYSTEM,
        title=f"{name} is well",
        fix=f"mend {name}",
        look=look,
        blame=blame,
        needs=needs,
        at_start=at_start,
        seconds=seconds,
    )


async def rows_of(checks: Sequence[Check], *only: str) -> list[Row]:
    deployment = Deployment(clock=FakeClock())
    chosen = choose(checks, only=only, at_start=False)
    return [row async for row in examine(deployment, checks, chosen)]


def row(verdict: Verdict, blame: Blame = Blame.DEFECT) -> Row:
    return Row(
        check="X001",
        group=Group.SYSTEM,
        verdict=verdict,
        about="",
        cause="cause",
        fix="",
        blame=blame,
    )


@pytest.mark.parametrize(
    ("error", "verdict", "blame", "cause"),
    [
        (CannotSeeError("it is dark"), Verdict.SKIP, Blame.DEFECT, "it is dark"),
        (NotReachedError("gone", "call them"), Verdict.FAIL, Blame.UNREACHABLE, "gone"),
        (TimeoutError(), Verdict.FAIL, Blame.UNREACHABLE, "no answer within 10 s"),
        (
            asyncio.CancelledError(),
            Verdict.FAIL,
            Blame.UNREACHABLE,
            "the connection ended under a question",
        ),
        (
            ValueError(PRIVATE),
            Verdict.FAIL,
            Blame.DEFECT,
            "the check itself broke off: ValueError",
        ),
    ],
)
async def test_whatever_one_check_meets_the_next_one_still_runs(
    error: BaseException, verdict: Verdict, blame: Blame, cause: str
) -> None:
    checks = [check("A001", raising(error)), check("B001", saying(ok("fine")))]
    first, second = await rows_of(checks)
    assert (first.verdict, first.blame, first.cause) == (verdict, blame, cause)
    assert (second.check, second.verdict) == ("B001", Verdict.OK)
    assert PRIVATE not in repr(first)


async def test_a_check_that_hangs_is_ended_by_its_own_limit() -> None:
    async def hang(_deployment: Deployment) -> Sequence[Remark]:
        await asyncio.Event().wait()
        return []

    first, second = await rows_of(
        [check("A001", hang, seconds=0.01), check("B001", saying(ok("fine")))]
    )
    assert (first.verdict, first.blame) == (Verdict.FAIL, Blame.UNREACHABLE)
    assert second.verdict is Verdict.OK


async def test_our_own_cancellation_ends_the_examination() -> None:
    started = asyncio.Event()

    async def hang(_deployment: Deployment) -> Sequence[Remark]:
        started.set()
        await asyncio.Event().wait()
        return []

    examining = asyncio.create_task(rows_of([check("A001", hang)]))
    await started.wait()
    examining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await examining


async def test_what_needs_a_failed_check_is_skipped_and_so_is_what_needs_both() -> None:
    checks = [
        check("A001", saying(fail("no"))),
        check("B001", saying(ok("unseen")), needs=("A001",)),
        check("C001", saying(ok("fine"))),
    ]
    rows = await rows_of(checks)
    assert [(each.check, each.verdict) for each in rows] == [
        ("A001", Verdict.FAIL),
        ("B001", Verdict.SKIP),
        ("C001", Verdict.OK),
    ]
    assert (rows[1].about, rows[1].cause) == ("B001 is well", "needs A001")


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        (fail("no", blame=Blame.UNREACHABLE), ["A001", "B001"]),
        (warn("hm"), ["B001"]),
        (ok("fine"), ["B001"]),
        (skip("dark"), ["B001"]),
    ],
)
async def test_a_needed_check_that_was_not_chosen_is_shown_only_where_it_failed(
    needed: Remark, expected: list[str]
) -> None:
    """Else ``--only`` on a dead broker would be a lone skip, and the exit code 0."""
    checks = [check("A001", saying(needed)), check("B001", saying(ok("fine")), needs=("A001",))]
    rows = await rows_of(checks, "B001")
    assert [each.check for each in rows] == expected
    assert (gravest(rows) is Blame.UNREACHABLE) == (expected == ["A001", "B001"])


async def test_the_checks_own_fix_and_blame_hold_where_a_remark_has_none() -> None:
    look = saying(ok("fine"), warn("hm"), fail("no", fix="do this"), skip("dark"))
    rows = await rows_of([check("A001", look, blame=Blame.CONFIGURATION)])
    assert [each.fix for each in rows] == ["", "mend A001", "do this", ""]
    assert {each.blame for each in rows} == {Blame.CONFIGURATION}


@pytest.mark.parametrize(
    ("only", "at_start", "expected"),
    [
        ([], False, ["CFG001", "CFG002", "AMQP001"]),
        ([], True, ["CFG001", "AMQP001"]),
        (["CFG"], False, ["CFG001", "CFG002"]),
        (["cfg002"], False, ["CFG002"]),
        (["AMQP001", "CFG001"], False, ["CFG001", "AMQP001"]),
        (["CFG"], True, ["CFG001"]),
    ],
)
def test_checks_are_chosen_by_id_beginning_and_profile(
    *, only: list[str], at_start: bool, expected: list[str]
) -> None:
    nothing = saying()
    checks = [
        check("CFG001", nothing, at_start=True),
        check("CFG002", nothing),
        check("AMQP001", nothing, at_start=True),
    ]
    assert [each.id for each in choose(checks, only=only, at_start=at_start)] == expected


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(UnknownCheckError, match="XYZ"):
        choose(CHECKS, only=["CFG", "XYZ"], at_start=False)


def test_ids_are_unique_and_what_a_check_needs_stands_before_it() -> None:
    seen: list[str] = []
    for each in CHECKS:
        assert each.id not in seen
        assert set(each.needs) <= set(seen), each.id
        seen.append(each.id)


def test_the_start_profile_holds_what_must_be_true_to_consume() -> None:
    """The dots of the table in operations, section 3, as far as the checks exist."""
    assert {each.id for each in choose(CHECKS, only=[], at_start=True)} == {
        *("CFG001", "CFG002", "CFG003", "CFG004", "CFG006", "SEC001"),
        *("SYS001", "SYS003", "LED001", "AMQP001", "AMQP002", "AMQP010"),
    }


def test_every_check_that_runs_at_start_needs_only_checks_that_do() -> None:
    at_start = {each.id for each in CHECKS if each.at_start}
    for each in CHECKS:
        if each.at_start:
            assert set(each.needs) - at_start <= {"SEC002"}, each.id


@pytest.mark.parametrize(
    ("rows", "strict", "code"),
    [
        ([], True, 0),
        ([row(Verdict.OK), row(Verdict.SKIP)], True, 0),
        ([row(Verdict.OK), row(Verdict.WARN)], False, 0),
        ([row(Verdict.OK), row(Verdict.WARN)], True, 3),
        ([row(Verdict.WARN), row(Verdict.FAIL)], True, 1),
        ([row(Verdict.FAIL), row(Verdict.FAIL, Blame.UNREACHABLE)], False, 69),
        (
            [
                row(Verdict.FAIL),
                row(Verdict.FAIL, Blame.UNREACHABLE),
                row(Verdict.FAIL, Blame.CONFIGURATION),
            ],
            False,
            78,
        ),
        ([row(Verdict.WARN, Blame.CONFIGURATION), row(Verdict.FAIL)], False, 1),
    ],
)
def test_the_gravest_failure_decides_the_exit_code(
    *, rows: list[Row], strict: bool, code: int
) -> None:
    assert ending(rows, strict=strict) == code
