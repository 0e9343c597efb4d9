"""The audit's chain: what was changed, moved, added, removed or cut off is found."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import store_samples as some
from tests.fakes_clock import START
from worker.acts import BEGINNING, ChainCheck, KeptAct, Place, next_place
from worker.records import ActFacts, AuditEntry

entries = st.lists(some.audit_entries, min_size=1, max_size=8)


def kept(entries: Sequence[AuditEntry]) -> list[KeptAct]:
    place, acts = BEGINNING, []
    for row, entry in enumerate(entries, 1):
        place = next_place(place, entry)
        acts.append(KeptAct(row=row, entry=entry, place=place))
    return acts


def followed(acts: Sequence[KeptAct], *, head: bytes | None = None) -> ChainCheck:
    check = ChainCheck(kept=head)
    for act in acts:
        check.follow(act)
    return check


def head_of(acts: Sequence[KeptAct]) -> bytes:
    place = acts[-1].place
    assert place is not None
    return place.digest


def is_found(acts: Sequence[KeptAct], head: bytes) -> bool:
    check = followed(acts, head=head)
    return check.broken is not None or check.is_kept_missing


def test_the_hash_is_over_a_form_that_never_changes() -> None:
    """A vector: who verifies an export of years ago needs the very same bytes."""
    entry = AuditEntry(
        at=START, actor="m.durand", action="replay_end", operation_id=some.number(1), detail="été"
    )
    place = next_place(BEGINNING, entry)
    assert place.digest.hex() == (
        "198a1f3f26bdf54fcfdf285176eb7df082084ae79ff951f8afca34fe2a9dc10c"
    )
    facts = replace(entry, facts=ActFacts(run="R-1", cents=5), is_denied=True)
    assert next_place(place, facts).position == 2


@given(entries=entries)
def test_a_chain_that_nobody_touched_is_whole(entries: list[AuditEntry]) -> None:
    acts = kept(entries)
    for head in acts:
        assert head.place is not None
        assert not is_found(acts, head.place.digest), "the chain has grown since"
    check = followed(acts)
    assert (check.head, check.count) == (acts[-1].place, len(acts))


@given(entries=entries, data=st.data(), other=some.audit_entries)
def test_any_changed_field_is_found(
    entries: list[AuditEntry], data: st.DataObject, other: AuditEntry
) -> None:
    acts = kept(entries)
    which = data.draw(st.integers(0, len(acts) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(AuditEntry)]))
    change: Any = {name: getattr(other, name)}
    changed = replace(acts[which].entry, **change)
    if changed == acts[which].entry:
        return
    acts[which] = replace(acts[which], entry=changed)
    check = followed(acts)
    assert check.broken is not None
    assert check.broken.where == f"act {which + 1}"


@given(entries=entries, data=st.data())
def test_any_bit_of_a_hash_is_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    acts = kept(entries)
    head = head_of(acts)
    which = data.draw(st.integers(0, len(acts) - 1))
    bit = data.draw(st.integers(0, 255))
    place = acts[which].place
    assert place is not None
    flipped = int.from_bytes(place.digest, "big") ^ (1 << bit)
    acts[which] = replace(acts[which], place=Place(place.position, flipped.to_bytes(32, "big")))
    assert is_found(acts, head)


@given(entries=entries, data=st.data())
def test_removed_added_and_exchanged_acts_are_found(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    acts = kept(entries)
    head = head_of(acts)
    which = data.draw(st.integers(0, len(acts) - 1))
    assert is_found(acts[:which] + acts[which + 1 :], head)
    assert is_found([*acts[: which + 1], *acts[which:]], head)
    other = data.draw(st.integers(0, len(acts) - 1))
    exchanged = list(acts)
    exchanged[which], exchanged[other] = exchanged[other], exchanged[which]
    assert is_found(exchanged, head) is (which != other)


@given(entries=entries, data=st.data())
def test_a_tail_cut_off_or_written_anew_is_found_with_a_kept_head_alone(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    acts = kept(entries)
    cut = data.draw(st.integers(0, len(acts) - 1))
    assert followed(acts[:cut]).broken is None, "what is left is whole"
    assert is_found(acts[:cut], head_of(acts))
    last = replace(acts[-1].entry, at=acts[-1].entry.at + timedelta(microseconds=1))
    rewritten = kept([*entries[:-1], last])
    assert followed(rewritten).broken is None
    assert is_found(rewritten, head_of(acts))


@given(entries=entries, data=st.data())
def test_an_act_without_a_place_is_counted_at_the_end_and_found_elsewhere(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    acts = kept(entries)
    which = data.draw(st.integers(0, len(acts) - 1))
    acts[which] = replace(acts[which], place=None)
    check = followed(acts)
    if which == len(acts) - 1:
        assert (check.broken, check.without_place) == (None, 1)
    else:
        assert check.broken is not None
        assert check.broken.where == f"row {which + 2}"


def test_whoever_counts_wrong_is_told_which_act_should_stand_there() -> None:
    acts = kept([some.sample_act(n) for n in range(4)])
    gap = followed([acts[0], acts[2]])
    assert gap.broken is not None
    assert (gap.broken.where, gap.broken.reason) == (
        "act 3",
        "act 2 should stand here: acts are missing",
    )
    assert gap.follow(acts[3]) is gap.broken, "after a break nothing counts"
    twice = followed([acts[0], acts[0]])
    assert twice.broken is not None
    assert "twice" in twice.broken.reason
