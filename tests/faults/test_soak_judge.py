"""The judge of the soak notices what it is there for: one planted fault at a time."""

from dataclasses import replace

import pytest

from tests.faults.soak_judge import (
    Asked,
    Books,
    Evidence,
    Heard,
    Letter,
    Verdict,
    judge,
    worst_recovery,
)
from tests.faults.soak_load import Kind, Load, Request, references_of

LINK = "https://pay.simulator.example/paypage?SDESSID=1"
OTHER_LINK = "https://pay.simulator.example/paypage?SDESSID=2"
ITEM = "7"


def request(kind: Kind, key: str, content: str = "order 1") -> Request:
    """A request whose payment id is made from its key."""
    return Request(
        key=key,
        kind=kind,
        origin="dcp",
        routing_key="payment.initiate.dcp",
        content=content,
        payment_id="00000000-0000-5000-8000-" + f"{key:>12}".replace(" ", "0"),
        body={},
    )


PAYMENT = request(Kind.LINK, "1")
BASKET = request(Kind.BASKET, "2", "order 2")
CANCEL = replace(BASKET, key="3", kind=Kind.CANCEL)


def asked(*requests: Request) -> tuple[Asked, ...]:
    return tuple(Asked(request=each, sent_at=10.0, confirmed_at=10.5) for each in requests)


def event(about: Request, end: str = "initiation.succeeded", **changes: object) -> Heard:
    """An event about a request, sound unless told otherwise."""
    heard = Heard(
        at=12.0,
        event_id=f"event of {about.key}",
        event_type=f"payment.{end}",
        payment_id=about.payment_id,
        sequence=1,
        request_id=about.key,
        content_digest=f"digest of {about.key}",
    )
    return replace(heard, **changes)  # type: ignore[arg-type]  # each test names fields of Heard


def url(about: Request, number: int = 0) -> str:
    return f"https://back.example.org/i/{references_of(about.payment_id)[number]}/"


BOOKS = Books(
    links={references_of(PAYMENT.payment_id)[0]: (LINK,)},
    item_urls={ITEM: url(BASKET)},
    removals={ITEM: 1},
)
SOUND = Evidence(
    asked=asked(PAYMENT, BASKET, CANCEL),
    heard=(
        event(PAYMENT, link=LINK),
        event(BASKET, item_id=ITEM),
        event(CANCEL, "cancellation.succeeded", sequence=2),
    ),
    books=BOOKS,
)


def breaches(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    """Only what was found."""
    return {name: ids for name, ids in verdict.breaches.items() if ids}


def test_a_sound_run_is_good() -> None:
    verdict = judge(SOUND)
    assert verdict.is_good
    assert breaches(verdict) == {}
    assert (verdict.requests, verdict.decided, verdict.in_doubt) == (3, 3, 0)
    assert verdict.applied == 2
    assert verdict.worst_latency == pytest.approx(2.0)


def test_a_request_nobody_answered_is_lost() -> None:
    verdict = judge(replace(SOUND, heard=SOUND.heard[1:]))
    assert breaches(verdict) == {"lost": (PAYMENT.key,)}
    assert not verdict.is_good


def test_a_request_whose_message_is_still_there_is_open() -> None:
    verdict = judge(replace(SOUND, heard=SOUND.heard[1:], left=frozenset({PAYMENT.key})))
    assert breaches(verdict) == {"open": (PAYMENT.key,)}


def test_a_dead_letter_without_an_event_is_neither_lost_nor_good() -> None:
    letter = Letter(PAYMENT.payment_id, 1, PAYMENT.key)
    verdict = judge(replace(SOUND, heard=SOUND.heard[1:], letters=(letter,)))
    assert breaches(verdict) == {}
    assert verdict.undecided_letters == (PAYMENT.key,)
    assert not verdict.is_good


def test_a_request_that_was_never_confirmed_may_stay_without_an_answer() -> None:
    unconfirmed = replace(SOUND.asked[0], confirmed_at=None)
    verdict = judge(replace(SOUND, asked=(unconfirmed, *SOUND.asked[1:]), heard=SOUND.heard[1:]))
    assert verdict.is_good
    assert verdict.requests == 2


def test_an_item_that_was_added_twice_is_found_under_another_reference_too() -> None:
    for number in (0, 1):
        books = replace(BOOKS, item_urls={ITEM: url(BASKET), "8": url(BASKET, number)})
        found = breaches(judge(replace(SOUND, books=books)))
        assert found == {"applied twice": (f"order {BASKET.content}",)}


def test_an_item_that_was_added_for_two_keys_of_one_order_is_found() -> None:
    twin = request(Kind.BASKET, "4", BASKET.content)
    evidence = replace(
        SOUND,
        asked=(*SOUND.asked, *asked(twin)),
        heard=(*SOUND.heard, event(twin, item_id="8")),
        books=replace(BOOKS, item_urls={ITEM: url(BASKET), "8": url(twin)}),
    )
    assert breaches(judge(evidence)) == {"applied twice": (f"order {BASKET.content}",)}


@pytest.mark.parametrize(("made", "is_found"), [(1, False), (2, False), (3, True)])
def test_a_link_nobody_received_may_be_asked_for_once_more_and_no_oftener(
    made: int, *, is_found: bool
) -> None:
    links = dict.fromkeys(references_of(PAYMENT.payment_id)[:made], (LINK,))
    found = breaches(judge(replace(SOUND, books=replace(BOOKS, links=links))))
    assert found == ({"applied twice": (PAYMENT.payment_id,)} if is_found else {})


@pytest.mark.parametrize("kind", [Kind.MAILED, Kind.CAREFUL])
def test_a_link_of_class_e_is_made_once(kind: Kind) -> None:
    careful = replace(PAYMENT, kind=kind)
    links = dict.fromkeys(references_of(PAYMENT.payment_id)[:2], (LINK,))
    evidence = replace(
        SOUND, asked=asked(careful, BASKET, CANCEL), books=replace(BOOKS, links=links)
    )
    found = breaches(judge(evidence))
    assert found == {"applied twice": (f"order {PAYMENT.content}",)}


def test_an_item_that_was_removed_twice_is_found() -> None:
    found = breaches(judge(replace(SOUND, books=replace(BOOKS, removals={ITEM: 2}))))
    assert found == {"applied twice": (f"removal of item {ITEM}",)}


def test_two_links_in_a_payers_hands_are_found() -> None:
    second = event(PAYMENT, link=OTHER_LINK, event_id="another", sequence=2)
    links = {references_of(PAYMENT.payment_id)[0]: (LINK, OTHER_LINK)}
    evidence = replace(SOUND, heard=(*SOUND.heard, second), books=replace(BOOKS, links=links))
    assert breaches(judge(evidence)) == {"links handed out twice": (f"order {PAYMENT.content}",)}


def test_a_second_event_id_for_one_sequence_is_found() -> None:
    second = event(PAYMENT, link=LINK, event_id="another")
    found = breaches(judge(replace(SOUND, heard=(*SOUND.heard, second))))
    assert found == {"events of one sequence under two ids": (f"{PAYMENT.payment_id} sequence 1",)}


def test_a_repeated_event_is_counted_and_is_no_breach() -> None:
    verdict = judge(replace(SOUND, heard=(*SOUND.heard, SOUND.heard[0])))
    assert verdict.is_good
    assert verdict.repeated_events == 1


def test_refused_cancellations_share_their_payments_sequence() -> None:
    late = replace(CANCEL, key="5")
    refused = event(late, "cancellation.failed", sequence=2, code="already_cancelled")
    evidence = replace(SOUND, asked=(*SOUND.asked, *asked(late)), heard=(*SOUND.heard, refused))
    assert judge(evidence).is_good


def test_one_event_id_with_another_content_is_found() -> None:
    changed = event(PAYMENT, link=LINK, content_digest="another")
    found = breaches(judge(replace(SOUND, heard=(*SOUND.heard, changed))))
    assert found == {"one event id with two contents": (SOUND.heard[0].event_id,)}


def test_a_failure_of_what_was_applied_is_found() -> None:
    failed = event(BASKET, "initiation.failed", code="declined")
    evidence = replace(
        SOUND,
        asked=asked(PAYMENT, BASKET),
        heard=(SOUND.heard[0], failed),
        books=replace(BOOKS, removals={}),
    )
    assert breaches(judge(evidence)) == {"reported failed though applied": (BASKET.payment_id,)}


@pytest.mark.parametrize(("is_retryable", "is_found"), [(False, False), (True, True)])
def test_an_orphaned_link_may_end_in_a_failure_that_does_not_promise_a_retry(
    *, is_retryable: bool, is_found: bool
) -> None:
    failed = event(PAYMENT, "initiation.failed", code="declined", is_retryable=is_retryable)
    found = breaches(judge(replace(SOUND, heard=(failed, *SOUND.heard[1:]))))
    assert found == ({"reported failed though applied": (PAYMENT.payment_id,)} if is_found else {})


def test_a_removal_reported_failed_that_was_done_is_found() -> None:
    failed = event(CANCEL, "cancellation.failed", code="provider_refused")
    found = breaches(judge(replace(SOUND, heard=(*SOUND.heard[:2], failed))))
    assert found == {"reported failed though applied": (f"cancellation of {BASKET.payment_id}",)}


@pytest.mark.parametrize(("is_done", "found_it"), [(False, False), (True, True)])
def test_a_removal_that_may_be_asked_for_again_speaks_of_the_removal_only(
    *, is_done: bool, found_it: bool
) -> None:
    """Its payment was applied, as it must be: there would be nothing to remove otherwise."""
    failed = event(CANCEL, "cancellation.failed", code="provider_rate_limited", is_retryable=True)
    books = SOUND.books if is_done else replace(SOUND.books, removals={})
    found = breaches(judge(replace(SOUND, heard=(*SOUND.heard[:2], failed), books=books)))
    named = (f"cancellation of {BASKET.payment_id}",)
    assert found == ({"reported failed though applied": named} if found_it else {})


def test_a_success_nobody_brought_about_is_found() -> None:
    found = breaches(judge(replace(SOUND, books=Books())))
    assert found == {
        "reported done though not applied": (
            PAYMENT.payment_id,
            BASKET.payment_id,
            f"cancellation of {BASKET.payment_id}",
        )
    }


def test_a_link_made_for_another_payment_is_no_success() -> None:
    other = request(Kind.LINK, "6", "order 6")
    links = {references_of(other.payment_id)[0]: (LINK,)}
    evidence = replace(
        SOUND,
        asked=(*SOUND.asked, *asked(other)),
        heard=(*SOUND.heard, event(other, "initiation.in_doubt", code="reconciling")),
        books=replace(BOOKS, links=links),
    )
    assert breaches(judge(evidence)) == {"reported done though not applied": (PAYMENT.payment_id,)}


def test_a_duplicate_is_answered_with_the_first_ones_link() -> None:
    twin = request(Kind.LINK, "4", PAYMENT.content)
    evidence = replace(
        SOUND,
        asked=(*SOUND.asked, *asked(twin)),
        heard=(*SOUND.heard, event(twin, link=LINK, duplicate_of=PAYMENT.payment_id)),
    )
    assert judge(evidence).is_good


def test_an_operation_nobody_asked_for_is_found() -> None:
    books = replace(BOOKS, links={**BOOKS.links, "f" * 32: (OTHER_LINK,)})
    found = breaches(judge(replace(SOUND, books=books)))
    assert found == {"operations nobody asked for": ("f" * 32,)}


def test_an_answer_about_another_payment_is_found() -> None:
    foreign = event(PAYMENT, link=LINK, payment_id=BASKET.payment_id, sequence=9)
    found = breaches(judge(replace(SOUND, heard=(*SOUND.heard, foreign))))
    assert PAYMENT.key in found["answers about another payment"]


def test_a_dead_letter_that_is_owed_and_missing_is_found() -> None:
    doubtful = event(PAYMENT, "initiation.in_doubt", code="outcome_unknown")
    evidence = replace(SOUND, heard=(doubtful, *SOUND.heard[1:]))
    assert breaches(judge(evidence)) == {
        "dead letters owed and missing": (f"{PAYMENT.payment_id} sequence 1",)
    }
    letter = Letter(PAYMENT.payment_id, 1, PAYMENT.key)
    verdict = judge(replace(evidence, letters=(letter,)))
    assert verdict.is_good
    assert verdict.in_doubt == 1


def test_recovery_is_counted_from_the_trouble_to_the_next_event_after_it_is_over() -> None:
    heard = [9.0, 11.0, 25.0]
    assert worst_recovery([(10.0, 10.0)], heard) == pytest.approx(1.0)
    assert worst_recovery([(10.0, 20.0)], heard) == pytest.approx(15.0)
    assert worst_recovery([(10.0, 10.0), (26.0, 26.0)], heard) == pytest.approx(1.0)
    assert worst_recovery([], heard) == 0.0


def test_one_seed_draws_the_same_load_again() -> None:
    first, second, other = (
        [request for _ in range(200) for request in load.batch()]
        for load in (Load(7, 0.3), Load(7, 0.3), Load(8, 0.3))
    )
    assert first == second
    assert first != other
    assert {each.kind for each in first} == set(Kind) - {Kind.CANCEL}
    assert len({each.key for each in first}) == len(first) > 200
    assert any(each.again_after is not None for each in first)
    assert any(str(each.body["email"]).startswith("sim+") for each in first)
