"""What ``publish`` is given, a file or options, turned into checked requests."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import assert_never
from uuid import UUID

from worker.cli.exit_codes import CommandError, ExitCode
from worker.contract.fields import present_key
from worker.contract.times import read_time
from worker.ports import Clock
from worker.submission.checking import (
    Checked,
    Ready,
    Refused,
    check,
    check_all,
    check_cancel,
    row_of_fields,
)
from worker.submission.documents import document_rows, line_rows, shape_of
from worker.submission.keys import FileKeys, Key
from worker.submission.rows import Row, Shape, UnreadableFileError
from worker.submission.tables import table_rows

STANDARD_INPUT = "-"
MAX_FILE_BYTES = 64 * 1024 * 1024
"""Everything is checked before anything is sent, so a file is held in memory."""

_SAFE = "nothing is paid twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Checked requests, and how to send the very same ones again."""

    checked: Checked
    again: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChoice:
    """A file of requests; ``intent`` is set where it is to be sent as a new intent."""

    name: str
    shape: Shape | None
    key_column: str | None
    intent: UUID | None
    is_new_intent: bool


_FIELDS = {
    "--target": "payment_target",
    "--mode": "payment_run_mode",
    "--type": "payment_type",
    "--origin": "id_origin",
    "--company": "id_societe",
    "--client": "id_client",
    "--order": "id_commande",
    "--payment-type": "type_paiement",
    "--amount": "amount",
    "--email": "email",
    "--comment": "commentaire",
}
_OPTIONAL = frozenset({"--payment-type", "--comment"})


def file_intake(choice: FileChoice, not_after: datetime | None, clock: Clock) -> Intake:
    """Read and check a file; raises ``CommandError`` where none of it can be trusted."""
    data = _data_of(choice.name)
    intent = clock.new_id() if choice.is_new_intent else choice.intent
    shape = choice.shape or shape_of(Path(choice.name).suffix, data)
    try:
        checked = check_all(
            _rows(data, shape, choice.key_column),
            FileKeys.of(data, intent),
            not_after=not_after,
            now=clock.now(),
        )
    except UnreadableFileError as error:
        raise CommandError(
            error.code,
            f"{error} Nothing was sent.",
            field="file",
            exit_code=ExitCode.FAILED,
            fix=f"It was read as {shape}; --format names another.",
        ) from error
    if choice.is_new_intent:
        return Intake(
            checked=checked,
            again=f"Run it again with --intent {intent} in place of --new-intent: {_SAFE}.",
            notes=(f"New intent {intent}: every row is a new request, whatever was sent before.",),
        )
    again = f"Run the same command again with the same input: {_SAFE}."
    return Intake(checked=checked, again=again)


def fields_intake(
    options: Mapping[str, str | None],
    *,
    key: str | None,
    not_after: datetime | None,
    clock: Clock,
) -> Intake:
    """Check one request given by options, under a fresh id unless a key is given."""
    if all(value is None for value in options.values()):
        raise usage(
            None, "Give a file (- is standard input), the fields of one request, or --cancel."
        )
    missing = [name for name in _FIELDS if name not in _OPTIONAL and options[name] is None]
    if missing:
        raise usage(None, f"One request needs {', '.join(missing)} as well.")
    filled = {**options, "--payment-type": options["--payment-type"] or options["--type"]}
    fields = {_FIELDS[name]: text for name, text in filled.items() if text is not None}
    own = _own_key(key, clock)
    row = row_of_fields(fields)
    return _single(check(row, own, not_after=not_after, now=clock.now()), own, key)


def cancel_intake(
    content: Mapping[str, UUID | str | bool | None],
    *,
    origin: str | None,
    key: str | None,
    clock: Clock,
) -> Intake:
    """Check one request to cancel a payment; the payment's origin must be named."""
    if origin is None:
        raise usage("--origin", "A cancellation needs the payment's own origin.")
    body = {
        name: value if isinstance(value, bool) else str(value)
        for name, value in content.items()
        if value is not None
    }
    own = _own_key(key, clock)
    return _single(check_cancel(body, origin, own, now=clock.now()), own, key)


def _own_key(key: str | None, clock: Clock) -> Key:
    if key is None:
        return Key(message_id=str(clock.new_id()))
    given = present_key(key)
    if given is None:
        raise usage("--key", "The key says nothing: it is blank, or the all-zero GUID.")
    return Key.given(given)


def _single(judged: Ready | Refused, own: Key, key: str | None) -> Intake:
    match judged:
        case Ready():
            checked = Checked(ready=(judged,), refused=(), ignored=())
        case Refused():
            checked = Checked(ready=(), refused=(judged,), ignored=())
        case other:
            assert_never(other)
    if key is not None:
        return Intake(checked=checked, again=f"Run the same command again: {_SAFE}.")
    return Intake(
        checked=checked,
        again=f"Run it again with --key {own.message_id}: {_SAFE}.",
        notes=(f"Under a fresh id; to send the same request again, add --key {own.message_id}.",),
    )


def time_limit(text: str | None, clock: Clock) -> datetime | None:
    """Read ``--not-after``; raises ``CommandError`` for what is no time, or past."""
    if text is None:
        return None
    time = read_time(text)
    if time is None:
        raise usage("--not-after", "Give a time with its zone, as in 2026-12-31T18:00:00+01:00.")
    if time <= clock.now():
        raise usage("--not-after", "This time is past: no attempt would start.")
    return time


def usage(option: str | None, message: str) -> CommandError:
    """Build the error of a wrong use of the command line, about one option where it is one."""
    return CommandError(
        "usage",
        message,
        field=option,
        exit_code=ExitCode.USAGE,
        fix="See `payment-worker publish --help`.",
    )


def _rows(data: bytes, shape: Shape, key_column: str | None) -> Iterator[Row]:
    match shape:
        case Shape.JSON_LINES:
            return line_rows(data, key_column=key_column)
        case Shape.CSV:
            return table_rows(data, key_column=key_column)
        case Shape.JSON:
            return document_rows(data, key_column=key_column)
        case other:
            assert_never(other)


def _data_of(name: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise usage("file", f"{name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise usage("file", "The file is larger than 64 MiB; send it in parts.")
    return data
