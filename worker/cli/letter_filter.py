"""Which dead letters a command is about, as options."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.exit_codes import CommandError, ExitCode
from worker.codes import Category, Code, codes_of
from worker.contract.times import read_time
from worker.model import PaymentTarget
from worker.settings.values import read_duration

_PANEL = "Which letters: all that is given must hold"


def _option(*names: str, text: str) -> object:
    return typer.Option(*names, help=text, rich_help_panel=_PANEL, show_default=False)


CodeOption = Annotated[
    list[Code] | None, _option("--code", text="Its error code; give it again for more.")
]
CategoryOption = Annotated[
    list[Category] | None, _option("--category", text="The category of its code; likewise.")
]
OriginOption = Annotated[str | None, _option("--origin", text="Who asked: id_origin.")]
CompanyOption = Annotated[str | None, _option("--company", text="id_societe.")]
TargetOption = Annotated[PaymentTarget | None, _option("--target", text="payment_target.")]
PaymentOption = Annotated[
    UUID | None, _option("--payment", text="Of this payment, its cancellations included.")
]
SinceOption = Annotated[
    str | None,
    _option("--since", text="Failed from then on: RFC 3339, or how long ago, e.g. 2h."),
]
UntilOption = Annotated[str | None, _option("--until", text="Failed before then, likewise.")]


def wanted_codes(
    codes: list[Code] | None, categories: list[Category] | None
) -> frozenset[Code] | None:
    """Codes that meet both options; ``None`` where neither is given."""
    if not codes and not categories:
        return None
    named = frozenset(codes or Code)
    return named & frozenset().union(*(codes_of(each) for each in categories or Category))


def failed_within(
    since: str | None, until: str | None, *, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The period two options name; raises ``CommandError``."""
    begin, end = _moment("--since", since, now), _moment("--until", until, now)
    if begin is not None and end is not None and begin >= end:
        raise _misused("--until", "The period ends before it begins.")
    return begin, end


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    ago = read_duration(text)
    try:
        moment = read_time(text) if ago is None else now - ago
    except OverflowError:
        moment = None
    if moment is None:
        raise _misused(option, "Write a time as 2026-11-21T20:00:00Z, or how long ago as 2h.")
    return moment


def _misused(field: str, message: str) -> CommandError:
    return CommandError("wrong_period", message, exit_code=ExitCode.USAGE, field=field)
