"""The state table.

An operation has no row, is open (CALLING, RETRY_WAIT), or decided (the rest). Two things are
kept apart on purpose: this outcome, and the publish marks of the answer it owes, which live with
the answer.

- CALLING is written before the first byte leaves and names the attempt by a random token, so
  "claimed and never settled" is itself the record of a crash.
- RETRY_WAIT is open without a call under way: a ladder copy carries the request.
- IN_DOUBT is left by a late answer of the attempt that caused it, by a look-up, or by a person.
  It is the only state that a decided answer may be corrected from, and REOPEN is the only way
  back to open; both are audited. FIND tells more about a doubt without ending it: the operation
  exists at the provider, and its link is lost.
- A known state is never replaced by a less known one: nothing leads from SUCCEEDED or FAILED to
  IN_DOUBT. SUCCEEDED changes only by a cancellation that succeeded.
- CANCELLED is the end.

A pair that is not in the table raises and changes nothing. (Payment rules, rule set 2.)
"""

from enum import StrEnum, unique

from worker.records import State


@unique
class Move(StrEnum):
    """What may happen to an operation."""

    CLAIM = "claim"
    WAIT = "wait"
    SUCCEED = "succeed"
    FAIL = "fail"
    DOUBT = "doubt"
    CANCEL = "cancel"
    REOPEN = "reopen"
    FIND = "find"


MOVES: dict[State | None, dict[Move, State]] = {
    None: {
        Move.CLAIM: State.CALLING,
        Move.WAIT: State.RETRY_WAIT,  # a cancellation waiting for its payment
        Move.SUCCEED: State.SUCCEEDED,  # the answer of the payment it duplicates
        Move.FAIL: State.FAILED,  # refused: contract, routing, guard, expiry
        Move.DOUBT: State.IN_DOUBT,  # a lost ledger, or the duplicate of a doubtful payment
        Move.CANCEL: State.CANCELLED,  # it met a tombstone
    },
    State.CALLING: {
        Move.CLAIM: State.CALLING,  # its lease expired and its class allows another attempt
        Move.WAIT: State.RETRY_WAIT,
        Move.SUCCEED: State.SUCCEEDED,
        Move.FAIL: State.FAILED,
        Move.DOUBT: State.IN_DOUBT,
    },
    State.RETRY_WAIT: {
        Move.CLAIM: State.CALLING,
        Move.WAIT: State.RETRY_WAIT,  # a cancellation goes on waiting
        Move.SUCCEED: State.SUCCEEDED,  # a cancellation whose payment needed no call
        Move.FAIL: State.FAILED,
        Move.DOUBT: State.IN_DOUBT,  # time used up after an attempt that ended unknown
        Move.CANCEL: State.CANCELLED,
    },
    State.IN_DOUBT: {
        Move.SUCCEED: State.SUCCEEDED,
        Move.FAIL: State.FAILED,
        Move.REOPEN: State.RETRY_WAIT,
        Move.FIND: State.IN_DOUBT,  # a look-up found it applied, and no link to hand out
    },
    State.FAILED: {
        Move.REOPEN: State.RETRY_WAIT,
    },
    State.SUCCEEDED: {
        Move.CANCEL: State.CANCELLED,
    },
    State.CANCELLED: {},
}


class IllegalMoveError(Exception):
    """A move the table does not allow; attributes ``state`` and ``move``."""

    def __init__(self, state: State | None, move: Move) -> None:
        super().__init__(f"no {move} from {state or 'nothing'}")
        self.state = state
        self.move = move


def after(state: State | None, move: Move) -> State:
    """State that a move leads to; raises ``IllegalMoveError`` and changes nothing."""
    target = MOVES[state].get(move)
    if target is None:
        raise IllegalMoveError(state, move)
    return target
