"""The audit as a file: one line of JSON for each act, in the order of the chain, and its check.

The names are those of the Elastic Common Schema (operations 1.8). A line holds everything that
its hash is over, so a file is verified by itself; a file of a period begins in the middle of the
chain, and what its first line follows on is believed. No line holds a body, a link, an e-mail or a
comment: no act does.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from worker.acts import BEGINNING, Break, ChainCheck, KeptAct, Place
from worker.contract.times import exact_time_text, read_time
from worker.operators.whole_files import Stream
from worker.records import ActFacts, AuditEntry

LONGEST_LINE = 1 << 20
"""Bytes; nothing we write comes near it."""

_LABELS = frozenset({"account", "run", "plan_sha256", "approved_by", "result", "count", "cents"})


class LineError(Exception):
    """A line is none of an audit's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check of the audit came to.

    ``head`` is the last place that fits, ``count`` how many acts fit, ``without_place`` how many
    wait for theirs; ``is_kept_missing`` that a head which was kept elsewhere was met nowhere.
    """

    head: Place
    count: int
    without_place: int
    broken: Break | None
    is_kept_missing: bool

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return self.broken is None and not self.is_kept_missing


def act_line(act: KeptAct, before: Place) -> bytes:
    """One act as a line; ``before`` is the place it follows on."""
    entry, place = act.entry, act.place
    record: dict[str, object] = {
        "@timestamp": exact_time_text(entry.at),
        "event.action": entry.action,
        "event.type": "denied" if entry.is_denied else "allowed",
        "event.outcome": "failure" if entry.is_denied else "success",
        "event.reason": entry.detail,
        "user.name": entry.actor,
        "labels.operation_id": None if entry.operation_id is None else str(entry.operation_id),
        **{f"labels.{name}": value for name, value in entry.facts.known.items()},
        "labels.position": None if place is None else place.position,
        "labels.hash": None if place is None else place.digest.hex(),
        "labels.previous_hash": None if place is None else before.digest.hex(),
    }
    known = {name: value for name, value in record.items() if value is not None}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_act(line: bytes, row: int) -> tuple[KeptAct, Place]:
    """The act of a line, and the place it says it follows on; raises ``LineError``."""
    try:
        record = json.loads(line)
        return _read_record(record, row)
    except (ValueError, KeyError, TypeError) as error:
        raise LineError(row) from error


def _read_record(record: dict[str, Any], row: int) -> tuple[KeptAct, Place]:
    at = read_time(record["@timestamp"])
    operation = record.get("labels.operation_id")
    facts = {name: record[f"labels.{name}"] for name in _LABELS if f"labels.{name}" in record}
    if at is None or record["event.type"] not in {"allowed", "denied"}:
        raise ValueError(row)
    entry = AuditEntry(
        at=at,
        actor=_text(record["user.name"]),
        action=_text(record["event.action"]),
        operation_id=None if operation is None else UUID(operation),
        detail=_text(record["event.reason"]),
        is_denied=record["event.type"] == "denied",
        facts=ActFacts(**facts),
    )
    if "labels.position" not in record:
        return KeptAct(row=row, entry=entry, place=None), BEGINNING
    position = record["labels.position"]
    place = Place(position, bytes.fromhex(record["labels.hash"]))
    before = Place(position - 1, bytes.fromhex(record["labels.previous_hash"]))
    return KeptAct(row=row, entry=entry, place=place), before


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


async def write_acts(acts: AsyncIterator[KeptAct], stream: Stream, *, start: Place) -> Verdict:
    """Write each act as a line, and check the chain on the way; holds no more than one of them.

    ``start`` is the place before the first one. Raises ``NotWrittenError`` of the stream.
    """
    check = ChainCheck(start)
    before = start
    async for act in acts:
        stream.write(act_line(act, before))
        check.follow(act)
        before = act.place or before
    return _verdict(check)


async def verify_acts(acts: AsyncIterator[KeptAct], *, kept: bytes | None) -> Verdict:
    """Follow the chain of a ledger from its first act on."""
    check = ChainCheck(kept=kept)
    async for act in acts:
        if check.follow(act) is not None:
            break
    return _verdict(check)


def verify_file(stream: BinaryIO, *, kept: bytes | None) -> Verdict:
    """Follow the chain of an export; what its first line follows on is believed."""
    check: ChainCheck | None = None
    for row, line in enumerate(_lines(stream), 1):
        try:
            act, before = read_act(line, row)
        except LineError:
            check = check or ChainCheck(kept=kept)
            check.broken = Break(f"line {row}", "it is no act of an audit")
            break
        check = check or ChainCheck(before, kept=kept)
        # Told from the act as we would write it: what no hash is over may not differ either.
        if act.place is not None and line != act_line(act, check.head):
            check.broken = Break(
                f"line {row}", "it was changed, or does not follow on the line before"
            )
        if check.broken is not None or check.follow(act) is not None:
            break
    return _verdict(check or ChainCheck(kept=kept))


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_LINE):
        yield line


def _verdict(check: ChainCheck) -> Verdict:
    return Verdict(
        head=check.head,
        count=check.count,
        without_place=check.without_place,
        broken=check.broken,
        is_kept_missing=check.is_kept_missing,
    )
