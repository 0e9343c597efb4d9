"""What the worker tells the world about itself: one line and a few numbers for each fact."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from worker.breaker import BreakerChange, BreakerState
from worker.calls import NotSent, Try
from worker.codes import MEANINGS, Code
from worker.confirms import PROBE
from worker.gate import Hindrance
from worker.inventory import Standing
from worker.look_ups import Finding, PlanState
from worker.messages import (
    Action,
    Exchange,
    Handled,
    OutgoingMessage,
    Publication,
    Story,
)
from worker.permits import AccountPermits
from worker.ports import Clock, Publisher
from worker.reconciler import LookedUp
from worker.records import Record, Status
from worker.telemetry.logs import LineWriter
from worker.telemetry.metrics import Metrics
from worker.telemetry.redaction import facts_of
from worker.telemetry.stories import (
    NONE,
    code_class,
    fields_of,
    is_alarming,
    mode_of,
    nanoseconds,
    operation_of,
    sentence_of,
)

_NEWS_SECONDS = 60.0
_CLOSED = BreakerState.CLOSED


class Telemetry:
    """Logs and counts facts; it decides nothing and raises nothing.

    ``registry`` is the caller's own; ``writer`` is asked how many log lines were lost.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        logger: FilteringBoundLogger,
        registry: CollectorRegistry,
        version: str,
        writer: LineWriter | None = None,
    ) -> None:
        self._clock = clock
        self._log = logger
        self._metrics = Metrics(registry)
        self._metrics.build.info({"version": version})
        # Looking up the counter of a set of labels costs more than counting; the sets are few.
        self._deliveries = cache(self._metrics.deliveries.labels)
        self._published = cache(self._metrics.published.labels)
        self._requests = cache(self._metrics.provider_requests.labels)
        self._durations = cache(self._metrics.provider_duration.labels)
        self._jobs = cache(self._metrics.jobs.labels)
        self._in_progress = 0
        self._metrics.in_progress.set_function(lambda: float(self._in_progress))
        self._known: set[str] = set()
        self._paged: dict[str, str] = {}
        self._told: dict[str, float] = {}
        if writer is not None:
            self._metrics.lost_lines.set_function(lambda: float(writer.lost))

    def taken(self) -> None:
        """A delivery is being worked on from now; ``handled`` or ``given_up`` ends it."""
        self._in_progress += 1

    def handled(self, handled: Handled, seconds: float) -> None:
        """A delivery was handled: its one summary line and its numbers."""
        story = handled.story
        self._in_progress -= 1
        self._deliveries(story.action).inc()
        self._metrics.job_duration.observe(seconds)
        for each in story.tries:
            self._tried(story, each)
        if story.reply_to_ignored:
            self._metrics.reply_to_ignored.inc()
        if story.unknown_properties:
            self._metrics.unknown_properties.inc()
        if story.suspicions:
            self._suspected(story)
        if story.livemode_forced:
            self._metrics.forced_live.inc()
        if story.action is Action.ANSWERED:
            self._decided(story)
        if story.action is Action.RETURNED:
            say = self._telling(f"returned {story.reason}")
        else:
            say = self._log.warning if is_alarming(story) else self._log.info
        say(sentence_of(story), **fields_of(story, seconds))

    def _telling(self, cause: str) -> Callable[..., object]:
        """Warn of a cause once a minute: fifty deliveries that meet it are one piece of news."""
        now = self._clock.monotonic()
        told = self._told.get(cause)
        if told is not None and now - told < _NEWS_SECONDS:
            return self._log.info
        self._told[cause] = now
        return self._log.warning

    def given_up(self, error: BaseException, seconds: float) -> None:
        """Handling a delivery failed in a way nobody foresaw; it goes back to the broker."""
        self._in_progress -= 1
        self._deliveries(Action.RETURNED).inc()
        self._log.error(
            "A delivery could not be handled and goes back",
            **{"event.action": "delivery.given_up", "event.duration": nanoseconds(seconds)},
            **facts_of(error),
        )

    def published(self, message: OutgoingMessage, publication: Publication) -> None:
        """A message was published, or was not; anything but a confirm is news once a minute."""
        is_result = message.exchange is Exchange.RESULTS
        kind = (message.type or NONE) if is_result else message.exchange.value
        self._published(kind, publication).inc()
        if publication is not Publication.CONFIRMED:
            if message.type == PROBE:
                return  # whoever probes tells what came of it
            self._telling(f"{kind} {publication}")(
                f"Publishing ended {publication}",
                **{
                    "event.action": "message.published",
                    "labels.phase": kind,
                    "labels.message_id": message.message_id,
                    "labels.status": publication,
                },
            )
        elif message.exchange is Exchange.DEAD_LETTER:
            self._dead_lettered(message)

    def breaker_changed(self, change: BreakerChange) -> None:
        """An account's circuit breaker opened, probes or closed."""
        is_closed = change.state is _CLOSED
        self._metrics.breaker_open.labels(change.account).set(0 if is_closed else 1)
        self._metrics.breaker_changes.labels(change.account, change.state).inc()
        self._set_state(change.account, change.state)
        say = self._log.info if is_closed else self._log.warning
        say(
            f"Breaker {change.state.replace('_', ' ')}",
            **{
                "event.action": "breaker.changed",
                "labels.provider": change.account,
                "labels.breaker": change.state,
                "labels.reason": change.reason,
                "labels.seconds": change.pause,
            },
        )

    def paused(self, account: str, is_paused: bool) -> None:  # noqa: FBT001 - the fact itself
        """Operators have paused an account, or let it be called again."""
        self._metrics.account_paused.labels(account).set(is_paused)
        self._log.warning(
            "Account paused" if is_paused else "Account resumed",
            **{
                "event.action": "account.paused" if is_paused else "account.resumed",
                "labels.provider": account,
            },
        )

    def hindered(self, hindrance: Hindrance) -> None:
        """A delivery had to wait for its account, or was refused; its own line says the rest."""
        refused, delayed = self._metrics.permits_refused, self._metrics.permits_delayed
        counter = refused if hindrance.is_refused else delayed
        counter.labels(hindrance.account, hindrance.obstacle).inc()

    def watch_accounts(self, permits: AccountPermits) -> None:
        """Show from now on what every account is doing, as it is when somebody looks."""
        for account, state in permits.states().items():
            self._metrics.breaker_open.labels(account).set(0 if state is _CLOSED else 1)
            self._metrics.account_paused.labels(account).set(account in permits.paused)
            self._metrics.calls_in_flight.labels(account).set_function(
                partial(permits.calls, account)
            )
            self._metrics.permits_waiting.labels(account).set_function(
                partial(permits.waiting, account)
            )
            self._set_state(account, state)

    def _set_state(self, account: str, state: BreakerState) -> None:
        for each in BreakerState:
            self._metrics.breaker_state.labels(account, each).set(each is state)

    def connected(self, role: str, place: str | None = None) -> None:
        """A broker connection is open, for the first time or again; ``place`` is its endpoint."""
        self._metrics.connected.labels(role).set(1)
        self._paged.pop(role, None)
        if role in self._known:
            self._metrics.reconnects.labels(role).inc()
        self._known.add(role)
        self._log.info(
            "Connected to the broker",
            **{"event.action": "broker.connected"},
            **_labels({"role": role, "host": place}),
        )

    def disconnected(
        self, role: str, reason: str, *, trouble: str, needs_person: bool, retry_in: float
    ) -> None:
        """A broker connection is lost or could not be opened; ``retry_in`` in seconds.

        ``trouble`` is its kind. What a person must mend (a refused login, a certificate, a queue
        that is gone: rabbitmq failure cases 21 and 37) is an error once, until we are connected
        again or the kind changes; each further try is a warning like any other.
        """
        self._metrics.connected.labels(role).set(0)
        self._metrics.troubles.labels(role, trouble).inc()
        is_page = needs_person and self._paged.get(role) != trouble
        if is_page:
            self._paged[role] = trouble
        say = self._log.error if is_page else self._log.warning
        say(
            "No connection to the broker",
            **{
                "event.action": "broker.disconnected",
                "labels.role": role,
                "labels.trouble": trouble,
                "labels.reason": reason,
                "labels.seconds": retry_in,
            },
        )

    def ticked(self) -> None:
        """The consumer is registered, or deliberately paused, and the loop turns."""
        self._metrics.last_tick.set(self._clock.now().timestamp())

    def stands(self, standing: Standing, *, overdue: int) -> None:
        """What is open, in doubt, unsent or overdue in the ledger; the ages are 0 for none."""
        self._metrics.overdue_waits.set(overdue)
        self._metrics.in_doubt.clear()
        for account, count in standing.doubts.items():
            self._metrics.in_doubt.labels(account).set(count)
        self._metrics.breaks.clear()
        for account, count in standing.breaks.items():
            self._metrics.breaks.labels(account).set(count)
        self._metrics.oldest_open_age.set(self._age_of(standing.oldest_open))
        self._metrics.in_doubt_age.set(self._age_of(standing.oldest_doubt))
        self._metrics.unpublished_age.set(self._age_of(standing.oldest_unpublished))

    def _age_of(self, moment: datetime | None) -> float:
        if moment is None:
            return 0.0
        return max(0.0, (self._clock.now() - moment).total_seconds())

    def looked_up(self, looked_up: LookedUp) -> None:
        """A payment in doubt was looked up; one of another amount needs a person at once."""
        reconciled, plan = looked_up.reconciled, looked_up.reconciled.plan
        finding = reconciled.finding or Finding.FAILED
        self._metrics.look_ups.labels(looked_up.account, finding).inc()
        decided = reconciled.decided
        say = self._log.warning if plan.state is PlanState.BREAK else self._log.info
        say(
            f"Looked up: {finding.replace('_', ' ')}",
            **{"event.action": "look_up.done"},
            **_labels(
                {
                    "payment_id": str(looked_up.operation_id),
                    "provider": looked_up.account,
                    "reason": finding.value,
                    "state": plan.state.value,
                    "step": plan.steps,
                    "sequence": plan.sequence if decided is None else decided.record.sequence,
                    "status": None if decided is None else decided.answer.event.status.value,
                    "until": None if plan.due_at is None else plan.due_at.isoformat(),
                }
            ),
        )

    def noted(self, message: str, action: str, **labels: object) -> None:
        """A step in the life of the process, at INFO; ``labels`` without their prefix."""
        self._log.info(message, **{"event.action": action}, **_labels(labels))

    def warned(
        self, message: str, action: str, error: BaseException | None = None, **labels: object
    ) -> None:
        """Something an operator should see, at WARNING; of the error type and place are told."""
        facts = facts_of(error) if error is not None else {}
        self._log.warning(message, **{"event.action": action}, **facts, **_labels(labels))

    def contradicted(self, record: Record) -> None:
        """The provider applied what was told as failed or cancelled: a person must mend that."""
        self._log.error(
            "The provider has applied what was told otherwise",
            **{
                "event.action": "call.contradicted",
                "labels.payment_id": str(record.payment_id),
                "labels.operation_id": str(record.operation_id),
                "labels.provider": record.account,
                "labels.status": record.state.value,
            },
        )

    def _suspected(self, story: Story) -> None:
        """The security record of one delivery: who claims to send it, and what it carries."""
        for suspicion in story.suspicions:
            self._metrics.suspicions.labels(suspicion).inc()
        self._log.warning(
            "A request carries headers no honest producer sends",
            **{
                "event.action": "request.suspicious",
                "labels.message_id": story.message_id,
                "labels.payment_id": story.payment_id,
                "labels.origin": story.origin,
                "labels.reason": ", ".join(story.suspicions),
            },
        )

    def _tried(self, story: Story, each: Try) -> None:
        account, operation = story.account or NONE, operation_of(story)
        seconds = max((each.ended_at - each.started_at).total_seconds(), 0.0)
        self._requests(account, operation, code_class(each), mode_of(story.live)).inc()
        if not isinstance(each.outcome, NotSent):
            self._durations(account, operation).observe(seconds)

    def _decided(self, story: Story) -> None:
        category = MEANINGS[story.code].category if story.code else None
        self._jobs(
            story.status or NONE, category or NONE, story.code or NONE, mode_of(story.live)
        ).inc()
        self._metrics.job_attempts.observe(story.attempts)
        if story.age is not None:
            self._metrics.job_age.observe(max(story.age, 0.0))
        if story.status is Status.SUCCEEDED:
            self._metrics.last_success.set(self._clock.now().timestamp())

    def _dead_lettered(self, message: OutgoingMessage) -> None:
        if message.routing_key == "unclaimed":
            self._metrics.unclaimed.inc()
            return
        code = str(message.headers.get("error-code", NONE))
        # A letter moved by an operator's walk may carry any text: labels come from our table.
        self._metrics.dead_letters.labels(code if code in set(Code) else NONE).inc()


class CountedPublisher:
    """A publisher that tells what became of each message; implements ``ports.Publisher``."""

    def __init__(self, publisher: Publisher, telemetry: Telemetry) -> None:
        self._publisher = publisher
        self._telemetry = telemetry

    async def publish(self, message: OutgoingMessage) -> Publication:
        """Publish through the other one and count the result."""
        publication = await self._publisher.publish(message)
        self._telemetry.published(message, publication)
        return publication


def _labels(labels: Mapping[str, object]) -> dict[str, object]:
    return {f"labels.{name}": value for name, value in labels.items() if value is not None}
