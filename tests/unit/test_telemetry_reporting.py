"""One line and the right numbers for each fact."""

import ast
import asyncio
from collections.abc import MutableMapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

import worker
from tests.fakes_clock import START, FakeClock
from worker.breaker import BreakerChange, BreakerState
from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Try,
    Unknown,
)
from worker.codes import Code
from worker.inventory import Standing
from worker.lifecycle.reconcile import Reconciled
from worker.look_ups import Finding, LookUpPlan, PlanState
from worker.messages import (
    Action,
    Disposition,
    Exchange,
    Handled,
    OutgoingMessage,
    Publication,
    Story,
    Suspicion,
)
from worker.model import Limits, Origin, Secret, Step
from worker.permits import AccountPermits
from worker.ports import Permit
from worker.reconciler import LookedUp
from worker.records import Kind, Status
from worker.telemetry import CountedPublisher, LineWriter, Telemetry
from worker.telemetry.redaction import ALLOWED

PAYMENT = UUID(int=7)


class Desk:
    """A telemetry with what it wrote and counted."""

    def __init__(self) -> None:
        self.capture = LogCapture()
        self.registry = CollectorRegistry()
        self.clock = FakeClock()
        self.writer = LineWriter()
        self.telemetry = Telemetry(
            clock=self.clock,
            logger=structlog.wrap_logger(None, processors=[self.capture]),
            registry=self.registry,
            version="1.2.3",
            writer=self.writer,
        )

    @property
    def line(self) -> MutableMapping[str, object]:
        (entry,) = self.capture.entries
        return entry

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"payment_worker_{name}", labels)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def a_try(outcome: Outcome, seconds: float = 0.25) -> Try:
    return Try(started_at=START, ended_at=START + timedelta(seconds=seconds), outcome=outcome)


def a_story(**changes: object) -> Story:
    facts: dict[str, object] = {
        "action": Action.ANSWERED,
        "operation_id": PAYMENT,
        "payment_id": PAYMENT,
        "kind": Kind.INITIATION,
        "message_id": "m-1",
        "origin": Origin("dcp"),
        "status": Status.SUCCEEDED,
        "account": "safedebit",
        "live": False,
        "attempts": 1,
        "sequence": 1,
        "age": 1.5,
        "tries": (a_try(Succeeded(link=Secret("https://pay.example/x"), http_status=200)),),
    }
    return Story(**(facts | changes))  # type: ignore[arg-type]  # the changes are a story's fields


def handle(desk: Desk, **changes: object) -> MutableMapping[str, object]:
    desk.telemetry.taken()
    desk.telemetry.handled(Handled(Disposition.ACKNOWLEDGE, a_story(**changes)), 0.5)
    return desk.line


def test_a_success_is_one_line_without_its_link(desk: Desk) -> None:
    line = handle(desk)
    assert line == {
        "event": "Answered succeeded",
        "log_level": "info",
        "event.action": "delivery.answered",
        "event.outcome": "success",
        "event.duration": 500_000_000,
        "labels.operation": "initiation",
        "labels.operation_id": PAYMENT,
        "labels.payment_id": PAYMENT,
        "labels.message_id": "m-1",
        "labels.origin": "dcp",
        "labels.provider": "safedebit",
        "labels.livemode": False,
        "labels.status": "succeeded",
        "labels.attempt": 1,
        "labels.sequence": 1,
        "labels.age": 1.5,
        "labels.tries": ["2xx"],
    }


def test_a_success_is_counted_everywhere_once(desk: Desk) -> None:
    handle(desk)
    assert (
        desk.value("jobs_total", status="succeeded", category="none", code="none", livemode="false")
        == 1
    )
    assert desk.value("deliveries_total", action="answered") == 1
    assert desk.value("job_duration_seconds_count") == 1
    assert desk.value("job_age_seconds_sum") == 1.5
    assert desk.value("job_attempts_sum") == 1
    assert desk.value("jobs_in_progress") == 0
    assert (
        desk.value(
            "provider_requests_total",
            provider="safedebit",
            operation="initiation",
            code_class="2xx",
            livemode="false",
        )
        == 1
    )
    assert (
        desk.value(
            "provider_request_duration_seconds_sum", provider="safedebit", operation="initiation"
        )
        == 0.25
    )
    assert desk.value("last_success_timestamp_seconds") == START.timestamp()


@pytest.mark.parametrize(
    ("changes", "level", "sentence", "outcome"),
    [
        (
            {"status": Status.FAILED, "code": Code.DECLINED},
            "info",
            "Answered failed declined",
            "failure",
        ),
        (
            {"status": Status.FAILED, "code": Code.PROVIDER_CREDENTIALS},
            "warning",
            "Answered failed provider_credentials",
            "failure",
        ),
        (
            {"status": Status.IN_DOUBT, "code": Code.OUTCOME_UNKNOWN},
            "warning",
            "Answered in_doubt outcome_unknown",
            "unknown",
        ),
        ({"action": Action.REPEATED}, "info", "Repeated succeeded", "success"),
        (
            {"action": Action.WAITING, "status": None, "step": Step.MINUTES_2, "reason": "busy"},
            "info",
            "Waiting 2m busy",
            None,
        ),
        ({"action": Action.RETURNED, "status": None}, "warning", "Returned", None),
        ({"unclaimed": True}, "warning", "Answered succeeded", "success"),
        ({"livemode_forced": True, "live": True}, "warning", "Answered succeeded", "success"),
        (
            {"code": Code.LINK_ERASED, "action": Action.REPEATED},
            "info",
            "Repeated succeeded link_erased",
            "success",
        ),
    ],
)
def test_the_line_says_what_became_of_it_and_how_loud(
    desk: Desk, changes: dict[str, object], level: str, sentence: str, outcome: str | None
) -> None:
    line = handle(desk, **changes)
    assert (line["log_level"], line["event"]) == (level, sentence)
    assert line.get("event.outcome") == outcome


def test_only_a_new_answer_is_a_job(desk: Desk) -> None:
    for action in (Action.REPEATED, Action.WAITING, Action.RETURNED):
        desk.telemetry.handled(Handled(Disposition.RETURN, a_story(action=action)), 0.1)
    assert desk.value("job_age_seconds_count") == 0
    assert desk.value("last_success_timestamp_seconds") == 0


@pytest.mark.parametrize(
    ("outcome", "code_class", "timed"),
    [
        (NotSent(), "not_sent", False),
        (Unknown(), "no_answer", True),
        (Unknown(http_status=502), "5xx", True),
        (Misconfigured(code=Code.PROVIDER_TLS), "no_answer", True),
        (Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401), "4xx", True),
        (NotApplied(code=Code.PROVIDER_RATE_LIMITED, http_status=429), "4xx", True),
        (
            Declined(code=Code.DECLINED, provider_code="NOK_001", http_status=200, known=True),
            "2xx",
            True,
        ),
    ],
)
def test_every_call_to_a_provider_is_counted_by_what_came_back(
    desk: Desk,
    outcome: Outcome,
    code_class: str,
    timed: bool,  # noqa: FBT001 - a table's column
) -> None:
    handle(desk, tries=(a_try(outcome), a_try(outcome)), live=True)
    assert (
        desk.value(
            "provider_requests_total",
            provider="safedebit",
            operation="initiation",
            code_class=code_class,
            livemode="true",
        )
        == 2
    )
    count = desk.value(
        "provider_request_duration_seconds_count", provider="safedebit", operation="initiation"
    )
    assert count == (2 if timed else None)


def test_what_a_request_brought_in_vain_is_counted(desk: Desk) -> None:
    line = handle(desk, reply_to_ignored=True, unknown_properties=("nom",), livemode_forced=True)
    assert desk.value("reply_to_ignored_total") == 1
    assert desk.value("unknown_properties_total") == 1
    assert desk.value("forced_live_total") == 1
    assert line["labels.unknown_properties"] == ("nom",)


def test_a_suspicious_request_has_a_line_of_its_own_and_is_counted_by_reason(desk: Desk) -> None:
    story = a_story(suspicions=(Suspicion.COPY_HEADER, Suspicion.DEATH_HEADER))
    desk.telemetry.handled(Handled(Disposition.ACKNOWLEDGE, story), 0.1)
    for reason in ("copy_header", "death_header"):
        assert desk.value("suspicious_requests_total", reason=reason) == 1
    record, _summary = desk.capture.entries
    assert record["event.action"] == "request.suspicious"
    assert record["log_level"] == "warning"
    assert record["labels.reason"] == "copy_header, death_header"
    assert record["labels.payment_id"] == story.payment_id


def test_a_refusal_without_account_mode_or_ids_is_told_too(desk: Desk) -> None:
    handle(
        desk,
        kind=None,
        account=None,
        live=None,
        age=None,
        tries=(),
        status=Status.FAILED,
        code=Code.INVALID_MESSAGE,
    )
    assert (
        desk.value(
            "jobs_total",
            status="failed",
            category="request",
            code="invalid_message",
            livemode="none",
        )
        == 1
    )


def test_an_unforeseen_failure_ends_the_work_in_progress(desk: Desk) -> None:
    desk.telemetry.taken()
    assert desk.value("jobs_in_progress") == 1
    desk.telemetry.given_up(ValueError("Jean Dupont"), 0.1)
    assert desk.value("jobs_in_progress") == 0
    assert desk.line["error.type"] == "ValueError"
    assert desk.line["log_level"] == "error"
    assert "Jean" not in repr(desk.line)


def message(exchange: Exchange, key: str, **headers: str) -> OutgoingMessage:
    return OutgoingMessage(
        exchange=exchange,
        routing_key=key,
        body=b"{}",
        message_id="e-1",
        type="payment.initiation.failed" if exchange is Exchange.RESULTS else "their.own.type",
        headers=headers,
    )


def test_publications_are_counted_by_our_types_and_results_only(desk: Desk) -> None:
    result = message(Exchange.RESULTS, "payment.result.dcp.failed")
    desk.telemetry.published(result, Publication.CONFIRMED)
    desk.telemetry.published(message(Exchange.RETRY, "5s"), Publication.CONFIRMED)
    letter = message(Exchange.DEAD_LETTER, "dead", **{"error-code": "declined"})
    desk.telemetry.published(letter, Publication.CONFIRMED)
    strange = message(Exchange.DEAD_LETTER, "dead", **{"error-code": "whatever it likes"})
    desk.telemetry.published(strange, Publication.CONFIRMED)
    desk.telemetry.published(message(Exchange.DEAD_LETTER, "unclaimed"), Publication.CONFIRMED)
    assert desk.capture.entries == []
    desk.telemetry.published(letter, Publication.UNKNOWN)
    assert desk.line["event"] == "Publishing ended unknown"
    published = "events_published_total"
    assert desk.value(published, type="payment.initiation.failed", result="confirmed") == 1
    assert desk.value(published, type="retry", result="confirmed") == 1
    assert desk.value(published, type="dlx", result="confirmed") == 3
    assert desk.value("dead_letters_total", code="declined") == 1
    assert desk.value("dead_letters_total", code="none") == 1
    assert desk.value("results_unclaimed_total") == 1


class _Publisher:
    def __init__(self, answer: Publication) -> None:
        self.answer = answer
        self.seen: list[OutgoingMessage] = []

    async def publish(self, message: OutgoingMessage) -> Publication:
        self.seen.append(message)
        return self.answer


async def test_a_counted_publisher_changes_nothing_about_the_answer(desk: Desk) -> None:
    inner = _Publisher(Publication.UNROUTABLE)
    sent = message(Exchange.RESULTS, "payment.result.dcp.failed")
    assert await CountedPublisher(inner, desk.telemetry).publish(sent) is Publication.UNROUTABLE
    assert inner.seen == [sent]
    assert (
        desk.value("events_published_total", type="payment.initiation.failed", result="unroutable")
        == 1
    )


def test_a_breaker_is_shown_open_until_it_closes(desk: Desk) -> None:
    for state, shown in (
        (BreakerState.OPEN, 1),
        (BreakerState.HALF_OPEN, 1),
        (BreakerState.CLOSED, 0),
    ):
        change = BreakerChange(account="combo", state=state, reason="rate", pause=30.0)
        desk.telemetry.breaker_changed(change)
        assert desk.value("breaker_open", provider="combo") == shown
    assert [entry["log_level"] for entry in desk.capture.entries] == ["warning", "warning", "info"]


def test_a_pause_is_shown_until_it_ends_without_who_and_why(desk: Desk) -> None:
    for is_paused in (True, False):
        desk.telemetry.paused("combo", is_paused)
        assert desk.value("account_paused", provider="combo") == is_paused
    assert [entry["event.action"] for entry in desk.capture.entries] == [
        "account.paused",
        "account.resumed",
    ]


async def entered(permits: AccountPermits) -> Permit | float:
    """What a delivery that comes and goes is given."""
    async with permits.take("combo", within=0.001) as permit:
        return permit


async def test_every_account_shows_what_it_is_doing_from_the_start(desk: Desk) -> None:
    permits = AccountPermits(
        {"combo": Limits(concurrent_calls=1)},
        clock=desk.clock,
        notify=desk.telemetry.breaker_changed,
        hindered=desk.telemetry.hindered,
    )
    desk.telemetry.watch_accounts(permits)
    assert desk.value("breaker_state", provider="combo", state="closed") == 1
    async with permits.take("combo", within=0.001) as permit:
        assert not isinstance(permit, float)
        permit.begin()
        assert desk.value("provider_calls_in_flight", provider="combo") == 1
        waiting = asyncio.ensure_future(entered(permits))
        await asyncio.wait({waiting}, timeout=0)
        assert desk.value("permits_waiting", provider="combo") == 1
        assert isinstance(await waiting, float)
        permit.report(Misconfigured(code=Code.PROVIDER_CREDENTIALS, http_status=401))
    assert desk.value("provider_calls_in_flight", provider="combo") == 0
    assert desk.value("permits_waiting", provider="combo") == 0
    assert desk.value("permits_delayed_total", provider="combo", reason="bulkhead") == 1
    assert desk.value("permits_refused_total", provider="combo", reason="bulkhead") == 1
    assert desk.value("breaker_state", provider="combo", state="closed") == 0
    assert desk.value("breaker_state", provider="combo", state="open") == 1


def returned(reason: str) -> Handled:
    return Handled(Disposition.RETURN, a_story(action=Action.RETURNED, reason=reason))


def test_what_many_deliveries_meet_is_one_warning_a_minute(desk: Desk) -> None:
    """The others are told all the same, at a level that wakes nobody."""
    for reason in ("event unknown", "event unknown", "dead letter unroutable", "event unknown"):
        desk.telemetry.handled(returned(reason), 0.1)
    desk.clock.advance(60.0)
    desk.telemetry.handled(returned("event unknown"), 0.1)
    levels = [entry["log_level"] for entry in desk.capture.entries]
    assert levels == ["warning", "info", "warning", "info", "warning"]


def lost(desk: Desk, trouble: str = "lost", *, needs_person: bool = False) -> None:
    desk.telemetry.disconnected(
        "consume", "why", trouble=trouble, needs_person=needs_person, retry_in=2.5
    )


def test_what_a_person_must_mend_is_an_error_once_until_we_are_connected_again(desk: Desk) -> None:
    """Other troubles in between, and further tries, page nobody a second time."""
    for trouble in ("refused", "lost", "refused", "missing", "missing"):
        lost(desk, trouble, needs_person=trouble != "lost")
    desk.telemetry.connected("consume")
    lost(desk, "missing", needs_person=True)
    levels = [entry["log_level"] for entry in desk.capture.entries]
    assert levels == ["error", "warning", "warning", "error", "warning", "info", "error"]
    assert desk.value("amqp_troubles_total", role="consume", trouble="refused") == 2
    assert desk.value("amqp_troubles_total", role="consume", trouble="missing") == 3


def test_connections_are_counted_when_they_come_back(desk: Desk) -> None:
    desk.telemetry.connected("consume")
    assert desk.value("amqp_reconnects_total", role="consume") is None
    lost(desk)
    assert desk.value("amqp_connected", role="consume") == 0
    desk.telemetry.connected("consume")
    assert desk.value("amqp_connected", role="consume") == 1
    assert desk.value("amqp_reconnects_total", role="consume") == 1


def standing(doubts: dict[str, int], age: float) -> Standing:
    return Standing(
        doubts=doubts,
        oldest_doubt=START - timedelta(seconds=age),
        oldest_open=START - timedelta(seconds=age / 3),
        oldest_unpublished=START - timedelta(seconds=age / 2),
    )


def test_doubts_ticks_and_lost_lines_are_what_they_are_now(desk: Desk) -> None:
    desk.telemetry.stands(standing({"combo": 2, "safedebit": 1}, 90.0), overdue=0)
    desk.telemetry.stands(standing({"combo": 1}, 30.0), overdue=3)
    assert desk.value("in_doubt", provider="combo") == 1
    assert desk.value("in_doubt", provider="safedebit") is None
    assert desk.value("in_doubt_oldest_age_seconds") == 30
    assert desk.value("oldest_job_age_seconds") == 10
    assert desk.value("unpublished_answer_oldest_age_seconds") == 15
    assert desk.value("overdue_waits") == 3
    desk.clock.advance(5)
    desk.telemetry.ticked()
    assert desk.value("consumer_last_tick_timestamp_seconds") == START.timestamp() + 5
    desk.writer.lost = 3
    assert desk.value("log_lines_lost") == 3
    assert desk.value("build_info", version="1.2.3") == 1


def test_breaks_are_counted_as_they_stand(desk: Desk) -> None:
    broken = replace(standing({"combo": 2}, 90.0), breaks={"safedebit": 2})
    desk.telemetry.stands(broken, overdue=0)
    assert desk.value("breaks", provider="safedebit") == 2
    desk.telemetry.stands(replace(broken, breaks={}), overdue=0)
    assert desk.value("breaks", provider="safedebit") is None


def test_a_look_up_is_one_line_and_a_break_is_a_warning(desk: Desk) -> None:
    plan = LookUpPlan(
        operation_id=UUID(int=7),
        account="safedebit",
        sequence=1,
        steps=2,
        state=PlanState.PLANNED,
        due_at=START,
    )
    missed = Reconciled(plan, Finding.NOT_FOUND)
    broken = Reconciled(replace(plan, state=PlanState.BREAK, due_at=None), Finding.OTHER_AMOUNT)
    for each in (missed, broken):
        desk.telemetry.looked_up(LookedUp("safedebit", UUID(int=7), each))
    first, second = desk.capture.entries
    assert (first["event"], first["log_level"]) == ("Looked up: not found", "info")
    assert first["labels.payment_id"] == str(UUID(int=7))
    assert (first["labels.step"], first["labels.state"]) == (2, "planned")
    assert (second["event"], second["log_level"]) == ("Looked up: other amount", "warning")
    assert "labels.until" not in second
    assert desk.value("look_ups_total", provider="safedebit", finding="other_amount") == 1


def test_notes_and_warnings_carry_labels_and_the_facts_of_an_error(desk: Desk) -> None:
    desk.telemetry.noted("Started", "worker.started", port=9464, host=None)
    desk.telemetry.warned("Slow", "ledger.slow", OSError(28, "No space left"), seconds=2)
    note, warning = desk.capture.entries
    assert note == {
        "event": "Started",
        "log_level": "info",
        "event.action": "worker.started",
        "labels.port": 9464,
    }
    assert warning["error.message"] == "No space left"
    assert warning["labels.seconds"] == 2


def test_every_field_that_is_ever_written_is_an_allowed_one(desk: Desk) -> None:
    """A field missing from the allow-list would be hidden in every line."""
    desk.telemetry.handled(
        Handled(
            Disposition.ACKNOWLEDGE,
            a_story(
                code=Code.DECLINED,
                step=Step.HOUR_1,
                reason="r",
                dead_lettered=True,
                unclaimed=True,
                reply_to_ignored=True,
                unknown_properties=("x",),
                suspicions=tuple(Suspicion),
                livemode_forced=True,
            ),
        ),
        0.1,
    )
    desk.telemetry.given_up(OSError(5, "I/O error"), 0.1)
    desk.telemetry.published(message(Exchange.RETRY, "5s"), Publication.REFUSED)
    desk.telemetry.connected("consume", "rabbit-1:5672")
    desk.telemetry.disconnected(
        "consume", "refused", trouble="refused", needs_person=True, retry_in=1.0
    )
    desk.telemetry.breaker_changed(
        BreakerChange(account="a", state=BreakerState.OPEN, reason="rate", pause=1.0)
    )
    own = {"event", "log_level"}
    written = {name for entry in desk.capture.entries for name in entry} - own
    assert written <= ALLOWED


def test_every_label_the_program_notes_is_an_allowed_one() -> None:
    """A label that is not on the list would reach the log as ``[hidden]``."""
    product = Path(worker.__file__).parent
    used = {
        f"labels.{keyword.arg}"
        for file in product.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"noted", "warned"}
        for keyword in node.keywords
        if keyword.arg not in {None, "error"}
    }
    assert used
    assert used <= ALLOWED
