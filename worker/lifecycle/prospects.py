"""Whether a replay can help a dead letter: the same rules that the reopening goes by, foreseen.

It is a foresight: what changes before the replayed copy arrives, the claim finds out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from worker.codes import Code, category_of
from worker.letters import Advice, LetterCase, LetterGroup, LetterTally, Verdict, code_name
from worker.lifecycle.reopen import is_untried, may_be_asked_again
from worker.records import Answer, Kind, Record, State

ADVICE: dict[Code, Advice] = {
    Code.INVALID_MESSAGE: Advice.NEEDS_EDIT,
    # An operator may edit the e-mail alone: another amount comes from the producer.
    Code.INVALID_AMOUNT: Advice.NEEDS_EDIT,
    Code.UNSUPPORTED_COMBINATION: Advice.AFTER_FIX,
    Code.CUSTOMER_UNKNOWN: Advice.NEEDS_EDIT,
    Code.PAYMENT_UNKNOWN: Advice.NEVER,
    Code.NOT_CANCELLABLE: Advice.NEVER,
    Code.ALREADY_CANCELLED: Advice.NEVER,
    Code.MODE_NOT_ALLOWED: Advice.AFTER_FIX,
    Code.PROVIDER_CREDENTIALS: Advice.AFTER_FIX,
    Code.PROVIDER_IP_REFUSED: Advice.AFTER_FIX,
    Code.PROVIDER_TLS: Advice.AFTER_FIX,
    Code.PROVIDER_REDIRECT: Advice.AFTER_FIX,
    Code.PROVIDER_ENDPOINT: Advice.AFTER_FIX,
    Code.COMPANY_NOT_CONFIGURED: Advice.AFTER_FIX,
    Code.DECLINED: Advice.NEVER,
    # Kept because its provider's code is not known yet (contract section 4).
    Code.PROVIDER_REFUSED: Advice.AFTER_FIX,
    # A replay asks under the same reference again: who used it, the provider can say.
    Code.REFERENCE_ALREADY_USED: Advice.LOOK_UP,
    Code.IDEMPOTENCY_MISMATCH: Advice.NEVER,
    Code.SUPERSEDED: Advice.NEVER,
    Code.PROVIDER_UNAVAILABLE: Advice.AFTER_OUTAGE,
    Code.PROVIDER_RATE_LIMITED: Advice.AFTER_OUTAGE,
    Code.REQUEST_EXPIRED: Advice.NEVER,
    Code.OUTCOME_UNKNOWN: Advice.LOOK_UP,
    Code.LINK_LOST: Advice.LOOK_UP,
    Code.LEDGER_LOST: Advice.LOOK_UP,
    Code.INTERNAL_ERROR: Advice.AFTER_FIX,
    Code.DELIVERY_LIMIT_REACHED: Advice.AFTER_FIX,
    Code.LINK_ERASED: Advice.NEVER,
}
"""What has to happen first, by code; of a doubt the operation's class decides further."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """Whether a replay can help, and why, in a sentence."""

    verdict: Verdict
    reason: str


def advice_on(code: Code | None) -> Advice:
    """What has to happen before letters of this code are replayed; ``None``: unanswered."""
    return Advice.AFTER_FIX if code is None else ADVICE[code]


def verdict_of(case: LetterCase) -> Verdict:
    """Whether a replay of such a letter can help; ``SAFE`` is one that the ledger would reopen."""
    return prospect_of(case).verdict


def prospect_of(case: LetterCase) -> Prospect:
    """The verdict on such a letter with its reason."""
    if case.code is None and case.state is not None and not case.state.is_open:
        return Prospect(
            Verdict.ALREADY_DONE, "It is decided: a replay only sends the stored answer again."
        )
    bar = _refusal_bar(case) or _doubt_bar(case) or _claim_bar(case)
    if bar is not None:
        return bar
    if case.code is None:
        # There is nothing to reopen: what the copy may do, the claim decides.
        return Prospect(Verdict.SAFE, "Nothing was decided about it: a worker will take it up.")
    return _advised(ADVICE[case.code], case)


def _refusal_bar(case: LetterCase) -> Prospect | None:
    if case.kind is not Kind.REFUSAL or case.code is None:
        return None
    # It was never bound to its key: a corrected request under it is a first one.
    if ADVICE[case.code] is Advice.NEVER:
        return Prospect(Verdict.HOPELESS, "It was refused; another request needs a key of its own.")
    return Prospect(
        Verdict.NEEDS_EDIT, "The message itself is wrong: its producer corrects and sends it."
    )


def _doubt_bar(case: LetterCase) -> Prospect | None:
    if case.code is Code.LEDGER_LOST and case.may_be_applied:
        return Prospect(Verdict.UNKNOWN, "Its history is lost: ask the provider what it has.")
    if case.may_be_applied and not may_be_asked_again(
        case.operation_class, link_published=case.link_published
    ):
        return Prospect(
            Verdict.UNKNOWN,
            "An attempt may have been applied: ask the provider what it has.",
        )
    return None


def _claim_bar(case: LetterCase) -> Prospect | None:
    """What the claim would decide at once, and what it cannot see."""
    if case.is_expired:
        # Replays included: it would be decided ``request_expired`` (contract section 2, Expiry).
        return Prospect(Verdict.HOPELESS, "Its time is over: no new attempt may start.")
    if case.is_superseded:
        return Prospect(
            Verdict.HOPELESS, "Another payment of the same content is open, in doubt or paid."
        )
    if case.kind is Kind.INITIATION and not case.names_order:
        return Prospect(
            Verdict.UNKNOWN,
            "It names no order: its producer may have asked again under a new key, and nothing"
            " ties the two.",
        )
    return None


def _advised(advice: Advice, case: LetterCase) -> Prospect:
    match advice:
        case Advice.AFTER_OUTAGE:
            return Prospect(Verdict.SAFE, "Nothing was applied: replay it once the outage is over.")
        case Advice.AFTER_FIX:
            return Prospect(
                Verdict.SAFE, "Nothing was applied: replay it once the cause is mended."
            )
        case Advice.LOOK_UP if case.state is State.IN_DOUBT and not case.may_be_applied:
            return Prospect(
                Verdict.SAFE, "Nothing was applied, as was found out at the provider: replay it."
            )
        case Advice.LOOK_UP if case.may_be_applied:
            return Prospect(
                Verdict.SAFE, "Asking again is harmless: nobody received what it may have left."
            )
        case Advice.LOOK_UP:
            return Prospect(Verdict.UNKNOWN, "Only the provider can say what it has: ask it first.")
        case Advice.NEEDS_EDIT if case.is_edited and case.code is Code.CUSTOMER_UNKNOWN:
            return Prospect(
                Verdict.SAFE, "Nothing was applied, and its e-mail was changed since: replay it."
            )
        case Advice.NEEDS_EDIT:
            return Prospect(
                Verdict.NEEDS_EDIT, "The request itself is wrong: the same again fails again."
            )
        case Advice.NEVER:
            return Prospect(Verdict.HOPELESS, "It cannot succeed any more under this key.")
        case other:
            assert_never(other)


def last_decided(record: Record) -> int:
    """The sequence of an operation's newest decision; 0 before the first."""
    return record.sequence - 1 if record.state.is_open else record.sequence


def is_kept_by_look_up(record: Record, sequence: int) -> bool:
    """Whether a look-up that found the link lost goes on with the letter of the doubt before.

    Opened again, the row no longer tells what it was, and until somebody has tried it nobody
    knows that a copy was sent: the letter may be the only place that holds the request.
    """
    if is_untried(record):
        return sequence == last_decided(record) - 1
    is_lost = record.state is State.IN_DOUBT and record.code is Code.LINK_LOST
    return is_lost and sequence == record.sequence - 1


def is_overtaken(sequence: int, record: Record, newest: Answer | None) -> bool:
    """Whether a decided letter of that sequence needs nobody any more (contract section 2).

    A newer decision was taken since, and it needs no letter or has one of its own in the queue: a
    decision of the sweeper owes a letter that it cannot write, and the older one is then the only
    place that holds the request.
    """
    if newest is not None and newest.letter is not None and not newest.letter_confirmed:
        return False
    return 0 < sequence < last_decided(record) and not is_kept_by_look_up(record, sequence)


def groups_of(tallies: Iterable[LetterTally]) -> tuple[LetterGroup, ...]:
    """The tallies added up by code: the unanswered ones, then the largest group first."""
    by_code: dict[Code | None, list[LetterTally]] = {}
    for tally in tallies:
        by_code.setdefault(tally.case.code, []).append(tally)
    groups = [_group(code, each) for code, each in by_code.items()]
    return tuple(sorted(groups, key=_group_order))


def _group_order(group: LetterGroup) -> tuple[bool, int, str]:
    return group.code is not None, -group.count, code_name(group.code)


def _group(code: Code | None, tallies: list[LetterTally]) -> LetterGroup:
    verdicts = dict.fromkeys(Verdict, 0)
    for tally in tallies:
        verdicts[verdict_of(tally.case)] += tally.count
    return LetterGroup(
        code=code,
        category=None if code is None else category_of(code),
        advice=advice_on(code),
        count=sum(tally.count for tally in tallies),
        confirmed=sum(tally.confirmed for tally in tallies),
        first=min(tally.first for tally in tallies),
        last=max(tally.last for tally in tallies),
        verdicts=verdicts,
    )
