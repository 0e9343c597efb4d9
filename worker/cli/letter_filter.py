"""Which dead letters a command is about, as options."""

from datetime import datetime
from difflib import get_close_matches
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.completions import origins
from worker.cli.exit_codes import CommandError, ExitCode
from worker.codes import Category, Code, codes_of
from worker.contract.times import read_time
from worker.identity import normalise_origin
from worker.letters import UNANSWERED, LetterFilter
from worker.model import PaymentTarget
from worker.settings.values import read_duration

_PANEL = "Which letters: all that is given must hold"


def _option(*names: str, text: str) -> object:
    return typer.Option(*names, help=text, rich_help_panel=_PANEL, show_default=False)


def _code_names() -> list[str]:
    return [UNANSWERED, *(code.value for code in Code)]


CodeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        help="Its error code, or `unanswered`; give it again for more.",
        rich_help_panel=_PANEL,
        show_default=False,
        metavar="CODE",
        autocompletion=_code_names,
    ),
]
CategoryOption = Annotated[
    list[Category] | None, _option("--category", text="The category of its code; likewise.")
]
OriginOption = Annotated[
    str | None,
    typer.Option(
        "--origin",
        help="Who asked: id_origin.",
        rich_help_panel=_PANEL,
        show_default=False,
        autocompletion=origins,
    ),
]
CompanyOption = Annotated[str | None, _option("--company", text="Which company: id_societe.")]
TargetOption = Annotated[
    PaymentTarget | None, _option("--target", text="Where it is paid: payment_target.")
]
PaymentOption = Annotated[
    UUID | None, _option("--payment", text="Of this payment, its cancellations included.")
]
SinceOption = Annotated[
    str | None,
    _option("--since", text="Failed from then on: 2026-11-21T20:00:00Z, or how long ago: 2h."),
]
UntilOption = Annotated[str | None, _option("--until", text="Failed before then; likewise.")]
TextOption = Annotated[
    str | None,
    _option(
        "--text",
        text="Found in the error's detail, order, client, company or origin, a to z in any case.",
    ),
]


def wanted_letters(
    *,
    now: datetime,
    code: list[str] | None = None,
    category: list[Category] | None = None,
    origin: str | None = None,
    company: str | None = None,
    target: PaymentTarget | None = None,
    payment: UUID | None = None,
    since: str | None = None,
    until: str | None = None,
    text: str | None = None,
) -> LetterFilter:
    """The letters that all options together mean; raises ``CommandError``."""
    begin, end = failed_within(since, until, now=now)
    return LetterFilter(
        codes=wanted_codes(code, category),
        origin=None if origin is None else normalise_origin(origin),
        company=company,
        target=target,
        payment_id=payment,
        since=begin,
        until=end,
        text=text,
    )


def wanted_codes(
    codes: list[str] | None, categories: list[Category] | None
) -> frozenset[Code | None] | None:
    """Codes that meet both options; ``None`` where neither is given.

    Unanswered letters have no category. Raises ``CommandError``.
    """
    if not codes and not categories:
        return None
    named = frozenset(map(_code, codes)) if codes else frozenset(Code)
    if not categories:
        return named
    return named & frozenset().union(*(codes_of(each) for each in categories))


def _code(name: str) -> Code | None:
    if name == UNANSWERED:
        return None
    try:
        return Code(name)
    except ValueError:
        near = get_close_matches(name, _code_names(), n=1)
        raise CommandError(
            "unknown_code",
            f"No error code is called {name}.",
            exit_code=ExitCode.USAGE,
            field="--code",
            fix=f"Did you mean {near[0]}?"
            if near
            else "`payment-worker dead-letters` shows the codes there are.",
        ) from None


def failed_within(
    since: str | None, until: str | None, *, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The period two options name; raises ``CommandError``."""
    begin, end = past_moment("--since", since, now), past_moment("--until", until, now)
    if begin is not None and end is not None and begin >= end:
        raise _misused("--until", "The period ends before it begins.")
    return begin, end


def past_moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """The moment that a text names, a time or how long ago; raises ``CommandError``."""
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
