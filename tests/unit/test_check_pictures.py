"""What the management API shows of a broker, and the verdict on it: each rule as a table."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from worker.adapters.topology import Finding
from worker.adapters.topology import Verdict as Seen
from worker.checks import Verdict
from worker.checks.limits import expiry_remarks, hold_remarks, work_remarks
from worker.checks.objects import looked_up
from worker.checks.routes import (
    binding_remarks,
    dead_letter_bindings,
    origin_remarks,
    other_bindings,
)
from worker.checks.verdicts import Remark
from worker.model import Environment, Origin
from worker.rules import Subscriber
from worker.topology import Topology
from worker.topology.picture import (
    Picture,
    PicturedBinding,
    PicturedExchange,
    PicturedQueue,
    matches,
)

OURS = Topology(
    environment=Environment.STAGING,
    subscribers=(Subscriber(name="dcp", origins=(Origin("dcp"), Origin("web"))),),
)
WORK, LETTERS, RESULTS = OURS.work_queue, OURS.dead_letter_queue, OURS.named("results")


def picture_of(topology: Topology = OURS, *, by_policy: bool = False) -> Picture:
    """A broker as either way of provisioning makes it, with a queue for ``unknown`` too."""
    queues = {
        queue.name: PicturedQueue(
            name=queue.name,
            type="quorum",
            is_durable=True,
            arguments=queue.structure if by_policy else queue.arguments,
            policy=queue.limits if by_policy else {},
        )
        for queue in topology.queues
    }
    exchanges = {
        exchange.name: PicturedExchange(
            name=exchange.name,
            type=exchange.type,
            is_durable=True,
            is_internal=exchange.internal,
            arguments={} if by_policy else exchange.arguments,
            policy="alternate" if by_policy and exchange.limits else None,
        )
        for exchange in topology.exchanges
    }
    bindings = [bound(each.exchange, each.queue, each.routing_key) for each in topology.bindings]
    answers = topology.result_queue(topology.subscribers[0])
    return Picture(
        queues=queues,
        exchanges=exchanges,
        bindings=(*bindings, bound(RESULTS, answers, "payment.result.unknown.*")),
        policies={"alternate": {"alternate-exchange": topology.unroutable_exchange}},
    )


def bound(source: str, queue: str, key: str, *, is_to_queue: bool = True) -> PicturedBinding:
    return PicturedBinding(
        source=source, destination=queue, is_to_queue=is_to_queue, routing_key=key
    )


def with_queue(picture: Picture, name: str, **changes: object) -> Picture:
    """The same broker with one queue changed: ``arguments`` and ``policy`` are added to."""
    queue = picture.queues[name]
    for field, facts in changes.items():
        assert isinstance(facts, Mapping)
        queue = replace(queue, **{field: {**getattr(queue, field), **facts}})  # type: ignore[arg-type]  # both are facts
    return replace(picture, queues={**picture.queues, name: queue})


def with_bindings(picture: Picture, *bindings: PicturedBinding, less: str = "") -> Picture:
    kept = (each for each in picture.bindings if not less or less not in each.routing_key)
    return replace(picture, bindings=(*kept, *bindings))


def causes(remarks: list[Remark], verdict: Verdict) -> list[str]:
    return [each.cause for each in remarks if each.verdict is verdict]


def all_remarks(picture: Picture, *, major: int = 3) -> list[Remark]:
    queues = [queue.name for queue in OURS.queues if not queue.name.startswith("payments.retry")]
    return [
        *work_remarks(picture, OURS, major),
        *hold_remarks(picture, [name for name in queues if name != WORK], major),
        *expiry_remarks(picture, [LETTERS]),
        *binding_remarks(picture, dead_letter_bindings(OURS)),
        *binding_remarks(picture, other_bindings(OURS)),
        *origin_remarks(picture, OURS),
    ]


@pytest.mark.parametrize("by_policy", [False, True], ids=["arguments", "policies"])
@pytest.mark.parametrize("major", [3, 4])
def test_both_ways_of_provisioning_are_sound(*, by_policy: bool, major: int) -> None:
    remarks = all_remarks(picture_of(by_policy=by_policy), major=major)
    assert {each.verdict for each in remarks} == {Verdict.OK}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"dead-letter-exchange": "amq.fanout"}, "dead-letter-exchange is amq.fanout"),
        ({"dead-letter-exchange": None}, "dead-letter-exchange is not set"),
        ({"dead-letter-routing-key": "rejected"}, "dead-letter-routing-key is rejected"),
        ({"dead-letter-strategy": "at-most-once"}, "dead-letter-strategy is at-most-once"),
        ({"overflow": "drop-head"}, "drops its oldest request"),
        ({"overflow": None}, "overflow is not set"),
        ({"delivery-limit": 20}, "delivery-limit is 20, below 1000"),
        ({"delivery-limit": 0}, "delivery-limit is 0"),
        ({"message-ttl": 60000}, "message-ttl is 60000 ms"),
        ({"expires": 60000}, "expires is 60000 ms"),
    ],
)
def test_a_work_queue_that_can_lose_a_request_fails(limits: dict[str, object], words: str) -> None:
    picture = with_queue(picture_of(by_policy=True), WORK, policy=limits)
    (cause,) = causes(work_remarks(picture, OURS, 3), Verdict.FAIL)
    assert words in cause


@pytest.mark.parametrize(
    ("major", "verdict"), [(3, Verdict.WARN), (4, Verdict.FAIL), (None, Verdict.FAIL)]
)
def test_no_delivery_limit_is_twenty_on_rabbitmq_4(major: int | None, verdict: Verdict) -> None:
    picture = picture_of(by_policy=True)
    for name in (WORK, LETTERS):
        picture = with_queue(picture, name, policy={"delivery-limit": None})
    (work,) = work_remarks(picture, OURS, major)
    (letters,) = hold_remarks(picture, [LETTERS], major)
    assert (work.verdict, letters.verdict) == (verdict, verdict)
    assert "20" in letters.cause


@pytest.mark.parametrize(
    ("limit", "major", "is_fine"),
    [
        (1_000_000, 3, True),
        (1001, 3, True),
        (1000, 3, False),
        (20, 4, False),
        (-1, 3, False),
        (-1, 4, True),
        ("many", 4, False),
    ],
)
def test_a_hold_queue_survives_being_looked_at(*, limit: object, major: int, is_fine: bool) -> None:
    picture = with_queue(picture_of(by_policy=True), LETTERS, policy={"delivery-limit": limit})
    (remark,) = hold_remarks(picture, [LETTERS], major)
    assert remark.verdict is (Verdict.OK if is_fine else Verdict.FAIL)


@pytest.mark.parametrize(
    ("argument", "policy", "in_force"),
    [
        ({"x-delivery-limit": 9}, {"delivery-limit": 5}, 5),
        ({"x-delivery-limit": 5}, {"delivery-limit": 9}, 5),
        ({"x-delivery-limit": 5}, {"delivery-limit": -1}, 5),
        ({"x-delivery-limit": 5}, {}, 5),
        ({}, {"delivery-limit": 9}, 9),
        ({}, {}, None),
    ],
)
def test_of_two_numbers_the_smaller_is_in_force(
    argument: dict[str, object], policy: dict[str, object], in_force: object
) -> None:
    queue = PicturedQueue(
        name="q", type="quorum", is_durable=True, arguments=argument, policy=policy
    )
    assert queue.in_force("delivery-limit") == in_force


def test_dead_lettering_goes_by_the_argument_and_overflow_by_the_policy() -> None:
    queue = PicturedQueue(
        name="q",
        type="quorum",
        is_durable=True,
        arguments={"x-dead-letter-exchange": "a", "x-overflow": "reject-publish"},
        policy={"dead-letter-exchange": "b", "overflow": "drop-head"},
    )
    assert queue.in_force("dead-letter-exchange") == "a"
    assert queue.in_force("overflow") == "drop-head"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"message-ttl": 86_400_000}, "message-ttl is 86400000 ms"),
        ({"expires": 1}, "expires is 1 ms"),
        ({"overflow": "drop-head"}, "its oldest message is dropped"),
    ],
)
def test_a_dead_letter_that_can_vanish_fails(policy: dict[str, object], words: str) -> None:
    """Even where the queue's own arguments are as they must be: a policy lies on top of them."""
    picture = with_queue(picture_of(), LETTERS, policy=policy)
    (remark,) = expiry_remarks(picture, [LETTERS])
    assert remark.verdict is Verdict.FAIL
    assert words in remark.cause


def test_limits_that_are_not_shown_are_no_ok() -> None:
    picture = picture_of()
    hidden = replace(picture.queues[WORK], policy=None)
    picture = replace(picture, queues={WORK: hidden})
    assert [each.verdict for each in work_remarks(picture, OURS, 3)] == [Verdict.SKIP]
    assert [each.verdict for each in expiry_remarks(picture, [LETTERS])] == [Verdict.SKIP]


def test_a_dead_letter_route_that_ends_nowhere_or_elsewhere_fails() -> None:
    wanted = dead_letter_bindings(OURS)
    letters = OURS.named("dlx")
    nowhere = with_bindings(picture_of(), less="dead")
    (cause,) = causes(binding_remarks(nowhere, wanted), Verdict.FAIL)
    assert cause == f"it leads nowhere, and must lead to {LETTERS}"
    elsewhere = with_bindings(nowhere, bound(letters, "q", "dead"))
    (cause,) = causes(binding_remarks(elsewhere, wanted), Verdict.FAIL)
    assert "only to q" in cause
    exchange = with_bindings(nowhere, bound(letters, "x", "dead", is_to_queue=False))
    assert causes(binding_remarks(exchange, wanted), Verdict.FAIL)


def test_a_second_queue_behind_a_route_warns() -> None:
    """Each copy of a dead letter could be replayed."""
    picture = with_bindings(picture_of(), bound(OURS.named("dlx"), "q", "dead"))
    (remark,) = binding_remarks(picture, dead_letter_bindings(OURS))
    assert remark.verdict is Verdict.WARN
    assert "each gets a copy" in remark.cause


def test_every_binding_is_looked_at_by_one_check() -> None:
    looked_at = [*dead_letter_bindings(OURS), *other_bindings(OURS)]
    assert len(looked_at) == len(set(looked_at))
    rest = set(OURS.bindings) - set(looked_at)
    assert {each.exchange for each in rest} == {RESULTS}


def test_an_origin_without_a_queue_warns() -> None:
    picture = with_bindings(picture_of(), less="result.web")
    remarks = origin_remarks(picture, OURS)
    assert [(each.verdict, each.about) for each in remarks] == [
        (Verdict.WARN, "Origin web"),
        (Verdict.OK, "Origin dcp, unknown"),
    ]


def test_an_origin_with_a_queue_for_some_answers_names_the_others() -> None:
    answers = OURS.result_queue(OURS.subscribers[0])
    picture = with_bindings(
        picture_of(), bound(RESULTS, answers, "payment.result.web.succeeded"), less="result.web"
    )
    (cause,) = causes(origin_remarks(picture, OURS), Verdict.WARN)
    assert "failed, in_doubt" in cause
    assert "succeeded" not in cause


def test_answers_to_unreadable_requests_need_a_queue_too() -> None:
    (cause,) = causes(
        origin_remarks(with_bindings(picture_of(), less="unknown"), OURS), Verdict.WARN
    )
    assert "unreadable requests" in cause


@pytest.mark.parametrize(
    "pattern", ["#", "payment.#", "payment.result.*.*", "*.*.*.*", "payment.result.*.succeeded"]
)
def test_a_catch_all_binding_fails(pattern: str) -> None:
    """Of a queue or of an exchange: either hides that an answer has no subscriber."""
    for is_to_queue in (True, False):
        extra = bound(RESULTS, "audit", pattern, is_to_queue=is_to_queue)
        (cause,) = causes(origin_remarks(with_bindings(picture_of(), extra), OURS), Verdict.FAIL)
        assert pattern in cause


@pytest.mark.parametrize("way", ["argument", "policy"])
def test_an_alternate_exchange_of_the_results_fails(way: str) -> None:
    picture = picture_of()
    exchange = picture.exchanges[RESULTS]
    spoilt = (
        replace(exchange, arguments={"alternate-exchange": "amq.fanout"})
        if way == "argument"
        else replace(exchange, policy="spoiling")
    )
    picture = replace(
        picture,
        exchanges={**picture.exchanges, RESULTS: spoilt},
        policies={"spoiling": {"alternate-exchange": "amq.fanout"}},
    )
    (cause,) = causes(origin_remarks(picture, OURS), Verdict.FAIL)
    assert "amq.fanout" in cause


@pytest.mark.parametrize(
    ("pattern", "key", "is_taken"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#.c", "a.b.c", True),
        ("#.c", "c", True),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.b", False),
        ("*.#", "a.b", True),
        ("", "a", False),
    ],
)
def test_a_topic_pattern_takes_words(*, pattern: str, key: str, is_taken: bool) -> None:
    assert matches(pattern, key) is is_taken


def unseen(kind: str, name: str) -> Finding:
    return Finding(kind, name, Seen.SKIP, "no right to configure")


@pytest.mark.parametrize("by_policy", [False, True], ids=["arguments", "policies"])
def test_what_amqp_did_not_show_is_decided_by_the_picture(*, by_policy: bool) -> None:
    picture = picture_of(by_policy=by_policy)
    found = [unseen("queue", each.name) for each in OURS.queues]
    found += [unseen("exchange", each.name) for each in OURS.exchanges]
    assert {looked_up(each, OURS, picture).verdict for each in found} == {Seen.OK}


def test_a_classic_queue_or_other_arguments_differ() -> None:
    picture = picture_of()
    classic = replace(picture.queues[WORK], type="classic", is_durable=False, arguments={})
    picture = replace(picture, queues={**picture.queues, WORK: classic})
    found = looked_up(unseen("queue", WORK), OURS, picture)
    assert (found.verdict, found.reason) == (
        Seen.MISMATCH,
        "x-queue-type is classic and not quorum",
    )
    rung = OURS.named("retry.v1.5s")
    other = with_queue(picture, rung, arguments={"x-message-ttl": 6000, "x-max-priority": 5})
    found = looked_up(unseen("queue", rung), OURS, other)
    assert (
        found.reason
        == "x-max-priority is 5 and must not be set; x-message-ttl is 6000 and not 5000"
    )


def test_an_exchange_of_another_kind_differs() -> None:
    picture = picture_of()
    requeue = OURS.requeue_exchange
    other = replace(picture.exchanges[requeue], type="topic", is_internal=False, is_durable=False)
    picture = replace(picture, exchanges={**picture.exchanges, requeue: other})
    found = looked_up(unseen("exchange", requeue), OURS, picture)
    assert found.verdict is Seen.MISMATCH
    assert found.reason == (
        "its type is topic and not direct; it is not durable; it is not internal"
    )


def test_what_the_picture_does_not_hold_stays_unseen() -> None:
    seen = Finding("queue", WORK, Seen.OK)
    empty = Picture()
    assert looked_up(seen, OURS, empty) is seen
    for finding in (unseen("queue", WORK), unseen("exchange", RESULTS), unseen("bindings", "*")):
        assert looked_up(finding, OURS, empty) is finding
    picture = picture_of()
    leaderless = replace(picture.queues[WORK], type="")
    picture = replace(picture, queues={**picture.queues, WORK: leaderless})
    assert looked_up(unseen("queue", WORK), OURS, picture).verdict is Seen.SKIP
