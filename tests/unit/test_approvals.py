"""A large replay needs another account, for this very plan; every refusal is an act."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.servers import refused_port
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from tests.store_samples import number
from worker import __main__ as program
from worker.adapters.clock import SystemClock
from worker.cli import letters_replayed, plan_approved
from worker.codes import Code
from worker.journal import ReplayRun, RunOptions, RunState
from worker.ledger import Ledger
from worker.letters import Verdict
from worker.model import Environment, RunMode
from worker.operators.approvals import (
    ApprovalLimits,
    NotApprovedError,
    Undertaking,
    approval_of,
    approve,
    check_resumption,
    real_cents,
)
from worker.operators.plans.files import writing_plan
from worker.operators.plans.rows import Plan, PlanHeader, PlanRow
from worker.records import Kind
from worker.rules import Rules

Captured = pytest.CaptureFixture[str]
LIMITS = ApprovalLimits(letters=10, cents=100_000)
WANTED = Undertaking(runner="r.unner", planner="p.lanner", plan_sha256="9f2c", letters=11, cents=0)
PLAN = Plan(
    path=Path("plan.json"),
    sha256="9f2c",
    environment=Environment.STAGING,
    created_at=START,
    expires_at=START + timedelta(hours=4),
    actor="p.lanner",
    wanted={},
    totals=(),
)


class Book:
    def __init__(self) -> None:
        self.store = MemoryStore(FakeClock())
        self.ledger = Ledger(store=self.store, rules=Rules(), clock=FakeClock())

    @property
    def denied(self) -> list[tuple[str, str, str]]:
        acts = [act for act in self.store.tables.audit if act.is_denied]
        return [(act.actor, act.action, act.detail) for act in acts]

    async def refusal(self, wanted: Undertaking = WANTED) -> str:
        with pytest.raises(NotApprovedError) as refused:
            await approval_of(self.ledger, LIMITS, wanted)
        return refused.value.code


@pytest.mark.parametrize(
    ("limits", "letters", "cents", "is_needed"),
    [
        (ApprovalLimits(), 10**6, 10**9, False),
        (LIMITS, 10, 100_000, False),
        (LIMITS, 11, 0, True),
        (LIMITS, 1, 100_001, True),
        (ApprovalLimits(letters=10), 1, 10**9, False),
        (ApprovalLimits(cents=10), 10**6, 10, False),
    ],
)
async def test_an_approval_is_needed_above_either_limit_and_0_is_none(
    limits: ApprovalLimits, letters: int, cents: int, *, is_needed: bool
) -> None:
    assert limits.exceeded_by(letters, cents) is is_needed


def test_test_money_is_no_money_and_what_is_not_known_counts() -> None:
    assert real_cents({RunMode.TEST: 5, RunMode.LIVE: 7, RunMode.FORCE_LIVE: 11, None: 13}) == 31


async def test_letters_of_an_amount_that_nobody_knows_keep_to_no_limit_of_money() -> None:
    """Those that the broker gave up: the ledger never read them."""
    book = Book()
    unpriced = replace(WANTED, letters=1, unpriced=1)
    assert await book.refusal(unpriced) == "approval_missing"
    assert await approval_of(book.ledger, ApprovalLimits(letters=10), unpriced) is None


async def test_another_account_approves_and_the_run_may_begin() -> None:
    book = Book()
    assert await book.refusal() == "approval_missing"
    await approve(book.ledger, PLAN, actor="a.pprover", reason="looked at it")
    approval = await approval_of(book.ledger, LIMITS, WANTED)
    assert approval is not None
    assert approval.actor == "a.pprover"
    assert book.denied == [("r.unner", "replay_begin", "approval_missing")]
    allowed = [act for act in book.store.tables.audit if not act.is_denied]
    assert [(act.action, act.facts.plan_sha256) for act in allowed] == [("approve", "9f2c")]


async def test_neither_who_planned_nor_who_runs_it_counts() -> None:
    book = Book()
    with pytest.raises(NotApprovedError):
        await approve(book.ledger, PLAN, actor="p.lanner", reason="mine")
    await approve(book.ledger, PLAN, actor="r.unner", reason="so do I")
    assert await book.refusal() == "approval_missing"
    # Somebody who planned it under another name of the same file may not use it either.
    assert await book.refusal(replace(WANTED, runner="x", planner="r.unner")) == "approval_missing"
    other = await approval_of(book.ledger, LIMITS, replace(WANTED, runner="x"))
    assert other is not None, "who approved it may not run it, anybody else may"


async def test_an_approval_is_for_this_very_plan_and_no_more() -> None:
    book = Book()
    await approve(book.ledger, PLAN, actor="a.pprover", reason="looked at it")
    assert await book.refusal(replace(WANTED, plan_sha256="77")) == "approval_missing"
    assert await book.refusal(replace(WANTED, plan_sha256=None)) == "approval_needs_plan"
    assert await book.refusal(replace(WANTED, is_more=True)) == "approval_is_for_plan"
    assert len(book.denied) == 3


async def test_who_has_approved_a_large_run_alone_may_not_go_on_with_it() -> None:
    book = Book()
    run = ReplayRun(
        run="R-1",
        actor="a.pprover",
        reason="x",
        plan_sha256="9f2c",
        options=RunOptions(),
        state=RunState.STOPPED,
        started_at=START,
        wanted=11,
    )
    await approve(book.ledger, PLAN, actor="a.pprover", reason="looked at it")
    for limits in (LIMITS, ApprovalLimits(cents=1)):
        with pytest.raises(NotApprovedError):
            await check_resumption(book.ledger, limits, run)
    await check_resumption(book.ledger, ApprovalLimits(letters=11), run)
    await check_resumption(book.ledger, LIMITS, replace(run, actor="r.unner"))
    assert [action for _, action, _ in book.denied] == ["replay_resume"] * 2


# --- the commands --------------------------------------------------------------------------------


def made_plan(path: Path, letters: int) -> None:
    """A plan that this machine's account has made, of so many safe letters."""
    now = SystemClock().now()
    header = PlanHeader(
        environment=Environment.STAGING,
        created_at=now,
        expires_at=now + timedelta(hours=4),
        actor="p.lanner",
        wanted={"all": "true"},
    )
    with writing_plan(path, header) as writer:
        for which in range(letters):
            writer.add(
                PlanRow(
                    operation_id=number(which),
                    kind=Kind.INITIATION,
                    payment_id=number(which),
                    sequence=1,
                    code=Code.PROVIDER_UNAVAILABLE,
                    verdict=Verdict.SAFE,
                    reason="nothing was applied",
                    amount=1250,
                    mode=RunMode.TEST,
                )
            )
        writer.seal()


def test_the_commands_hold_the_limit_and_tell_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Approved, the replay gets as far as the broker, which is not there."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(tmp_path / "ledger.sqlite3"))
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__HOST", "127.0.0.1")
    monkeypatch.setenv("PAYMENT_WORKER_OPERATORS__APPROVAL_LETTERS", "2")
    words = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*words, "ledger", "init"]) == 0
    plan = tmp_path / "plan.json"
    made_plan(plan, 3)

    def typed(account: str, *command: str) -> int:
        for module in (letters_replayed, plan_approved):
            monkeypatch.setattr(module, "operating_system_account", lambda: account)
        capsys.readouterr()
        return program.run([*words, "dead-letters", *command, "--reason", "x", "--yes"])

    with refused_port() as port:
        monkeypatch.setenv("PAYMENT_WORKER_BROKER__PORT", str(port))
        assert typed("r.unner", "replay", str(plan)) == 1
        assert "3 letters need the approval of another account" in capsys.readouterr().err
        assert typed("p.lanner", "approve", str(plan)) == 1
        assert "cannot approve it" in capsys.readouterr().err
        assert typed("a.pprover", "approve", str(plan)) == 0
        assert typed("a.pprover", "replay", str(plan)) == 1, "who approved it may not run it"
        assert typed("r.unner", "replay", str(plan)) == 69
        foreign = tmp_path / "foreign.json"
        foreign.write_bytes(plan.read_bytes().replace(b"staging", b"production", 1))
        assert typed("r.unner", "replay", str(foreign)) == 1
    capsys.readouterr()
    assert program.run([*words, "audit", "export"]) == 0
    acts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(act["user.name"], act["event.action"], act["event.type"]) for act in acts] == [
        ("r.unner", "replay_begin", "denied"),
        ("p.lanner", "approve", "denied"),
        ("a.pprover", "approve", "allowed"),
        ("a.pprover", "replay_begin", "denied"),
        ("r.unner", "replay_begin", "denied"),
    ]
    assert acts[0]["event.reason"] == "approval_missing"
    assert acts[-1]["event.reason"] == "plan_changed"
