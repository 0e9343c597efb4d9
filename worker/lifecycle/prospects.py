"""Whether a replay can help a dead letter: the same rules that the reopening goes by, foreseen.

It is a foresight: what changes before the replayed copy arrives, the claim finds out.
"""

from collections.abc import Iterable
from typing import assert_never

from worker.codes import Code, category_of
from worker.letters import Advice, LetterCase, LetterGroup, LetterTally, Verdict
from worker.lifecycle.reopen import may_be_asked_again
from worker.records import Kind, State

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


def verdict_of(case: LetterCase) -> Verdict:
    """Whether a replay of such a letter can help; ``SAFE`` is one that the ledger would reopen."""
    advice = ADVICE[case.code]
    if case.kind is Kind.REFUSAL:
        # It was never bound to its key: a corrected request under it is a first one.
        return Verdict.HOPELESS if advice is Advice.NEVER else Verdict.NEEDS_EDIT
    is_doubtful = case.state is State.IN_DOUBT or case.may_be_applied
    if case.code is Code.LEDGER_LOST or (
        is_doubtful
        and not may_be_asked_again(case.operation_class, link_published=case.link_published)
    ):
        return Verdict.UNKNOWN
    if case.is_expired:
        # Replays included: it would be decided ``request_expired`` (contract section 2, Expiry).
        return Verdict.HOPELESS
    if case.is_superseded:
        return Verdict.HOPELESS
    if case.kind is Kind.INITIATION and not case.names_order:
        # Its producer may have asked again under a new key, and nothing ties the two.
        return Verdict.UNKNOWN
    match advice:
        case Advice.AFTER_OUTAGE | Advice.AFTER_FIX:
            return Verdict.SAFE
        case Advice.LOOK_UP:
            return Verdict.SAFE if is_doubtful else Verdict.UNKNOWN
        case Advice.NEEDS_EDIT:
            return Verdict.NEEDS_EDIT
        case Advice.NEVER:
            return Verdict.HOPELESS
        case other:
            assert_never(other)


def groups_of(tallies: Iterable[LetterTally]) -> tuple[LetterGroup, ...]:
    """The tallies added up by code, the largest group first."""
    by_code: dict[Code, list[LetterTally]] = {}
    for tally in tallies:
        by_code.setdefault(tally.case.code, []).append(tally)
    groups = [_group(code, each) for code, each in by_code.items()]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.code)))


def _group(code: Code, tallies: list[LetterTally]) -> LetterGroup:
    verdicts = dict.fromkeys(Verdict, 0)
    for tally in tallies:
        verdicts[verdict_of(tally.case)] += tally.count
    return LetterGroup(
        code=code,
        category=category_of(code),
        advice=ADVICE[code],
        count=sum(tally.count for tally in tallies),
        confirmed=sum(tally.confirmed for tally in tallies),
        first=min(tally.first for tally in tallies),
        last=max(tally.last for tally in tallies),
        verdicts=verdicts,
    )
