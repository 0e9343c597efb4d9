"""``payment-worker dead-letters resolve`` and ``restore``: letters set aside, and back."""

from collections import Counter
from collections.abc import Collection
from typing import Annotated
from uuid import UUID

import typer

from worker import __version__
from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_filter import (
    CategoryOption,
    CodeOption,
    CompanyOption,
    OriginOption,
    PaymentOption,
    SinceOption,
    TargetOption,
    TextOption,
    UntilOption,
    wanted_letters,
)
from worker.cli.opened_desk import Desk, opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Output
from worker.cli.reasons import checked_reason
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, LetterFilter
from worker.operators.parking import Parked, Parking, ParkingAct, ParkingOutcome

_WITHOUT = {
    "resolve": "resolved; its letter was not in the queue",
    "restore": "listed again; its letter was not in the parking queue",
}
_EXAMPLE = "paid by hand, ref 4711"
_DONE = {Parked.RESOLVED: "resolved", Parked.RESTORED: "restored"}

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(group: typer.Typer) -> None:
    """Add the ``resolve`` and ``restore`` commands."""
    group.command(
        "resolve",
        epilog="Example: payment-worker dead-letters resolve 5b1f0c1e-... --reason 'paid by hand'",
    )(resolve_letters)
    group.command(
        "restore",
        epilog="Example: payment-worker dead-letters restore 5b1f0c1e-... --reason 'not paid yet'",
    )(restore_letters)


def resolve_letters(
    typer_context: typer.Context,
    operation_ids: Annotated[
        list[UUID] | None,
        typer.Argument(metavar="ID", help="As `dead-letters list` shows them.", show_default=False),
    ] = None,
    *,
    reason: ReasonOption,
    yes: YesOption = False,
    code: CodeOption = None,
    category: CategoryOption = None,
    origin: OriginOption = None,
    company: CompanyOption = None,
    target: TargetOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Set letters aside that a person has seen to; `restore` brings them back.

    They go to the parking queue and leave the list; the payment stays as it was decided. A request
    that the broker gave up is decided by this: its producer is answered delivery_limit_reached.
    Asks where there is more than one. Exit 3 when some were left alone.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    why = checked_reason(reason, example=_EXAMPLE)
    wanted = wanted_letters(
        now=context.clock.now(),
        code=code,
        category=category,
        origin=origin,
        company=company,
        target=target,
        payment=payment,
        since=since,
        until=until,
        text=text,
    )
    named = frozenset(operation_ids or [])
    if bool(named) == (wanted != EVERY_LETTER):
        raise CommandError(
            "which_letters",
            "Say which letters: ids, or a filter.",
            exit_code=ExitCode.USAGE,
            fix="Give exactly one of the two; `payment-worker dead-letters list` shows the ids.",
        )
    return run_with_ledger(_resolved(context, named, wanted, why, is_answered=yes))


def restore_letters(
    typer_context: typer.Context,
    operation_ids: Annotated[
        list[UUID], typer.Argument(metavar="ID", help="As `dead-letters list --resolved` does.")
    ],
    *,
    reason: ReasonOption,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Bring letters back that were set aside: to the dead letters, and into the list.

    Asks where there is more than one. Exit 3 when some were left alone.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    why = checked_reason(reason, example=_EXAMPLE)
    return run_with_ledger(_restored(context, frozenset(operation_ids), why, is_answered=yes))


async def _resolved(
    context: CommandContext,
    named: Collection[UUID],
    wanted: LetterFilter,
    reason: str,
    *,
    is_answered: bool,
) -> ExitCode:
    async with opened_ledger(context) as ledger:
        meant, unfinished = named, frozenset[UUID]()
        if not named:
            meant = await _ids(ledger, wanted)
            # What an earlier run marked and did not come to move is finished on the way.
            unfinished = await _ids(ledger, wanted.of_the_resolved())
        if not meant and not unfinished:
            context.output.say("No dead letters.")
            return ExitCode.OK
        if len(meant) > 1:
            context.output.confirm(
                f"Set {len(meant)} letters aside? They leave the list, and no replay takes them.",
                is_answered=is_answered,
            )
        tally = _Tally(context.output, "resolve")
        async with opened_desk(context) as desk:
            parking = _parking(ledger, desk, reason, tally)
            is_complete = await parking.resolve(meant, unfinished=unfinished)
    return tally.ended(is_complete=is_complete)


async def _restored(
    context: CommandContext, named: Collection[UUID], reason: str, *, is_answered: bool
) -> ExitCode:
    if len(named) > 1:
        context.output.confirm(f"Bring {len(named)} letters back?", is_answered=is_answered)
    tally = _Tally(context.output, "restore")
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        is_complete = await _parking(ledger, desk, reason, tally).restore(named)
    return tally.ended(is_complete=is_complete)


async def _ids(ledger: Ledger, wanted: LetterFilter) -> frozenset[UUID]:
    return frozenset([entry.operation_id async for entry in ledger.letters.listed(wanted)])


def _parking(ledger: Ledger, desk: Desk, reason: str, tally: "_Tally") -> Parking:
    return Parking(
        ledger=ledger,
        dead_letters=desk.dead_letters,
        parking=desk.parking,
        publisher=desk.publisher,
        act=ParkingAct(actor=operating_system_account(), reason=reason, worker_version=__version__),
        tell=tally.tell,
    )


class _Tally:
    """Tells of each letter as it is moved, and of all in the end."""

    def __init__(self, output: Output, act: str) -> None:
        self._output = output
        self._act = act
        self._counts: Counter[Parked] = Counter()

    def tell(self, outcome: ParkingOutcome) -> None:
        """Print one outcome at once."""
        self._counts[outcome.result] += 1
        row: dict[str, object] = {
            "payment_id": outcome.operation_id,
            "result": outcome.result,
            "reason": outcome.reason,
        }
        if outcome.result is Parked.LEFT_ALONE:
            says = f"left alone: {outcome.reason}"
        else:
            says = _DONE.get(outcome.result, _WITHOUT[self._act])
        self._output.record(row, f"{outcome.operation_id}  {says}")

    def ended(self, *, is_complete: bool) -> ExitCode:
        """Say what it came to, as an exit code too."""
        done = self._counts.total() - self._counts[Parked.LEFT_ALONE]
        if not is_complete:
            self._output.warn(
                "Stopped: the broker did not confirm. What was not reached is as it was.",
                fix="Run the same command again.",
            )
            return ExitCode.PARTIAL if done else ExitCode.FAILED
        left = self._counts[Parked.LEFT_ALONE]
        if not left:
            self._output.success(f"{done} {self._act}d.")
            return ExitCode.OK
        self._output.warn(
            f"{done} {self._act}d, {left} left alone: each says why.",
            fix="Look at one: payment-worker dead-letters show ID",
        )
        return ExitCode.PARTIAL if done else ExitCode.FAILED
