"""``payment-worker dead-letters edit``: another e-mail for a payment that failed."""

from dataclasses import dataclass
from typing import Annotated, assert_never
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.contract.corrections import accepted_email
from worker.model import Secret
from worker.operators.edits import EditReport, EditResult, Edits, EmailEdit, bar_of

_SWITCH = "operators.may_edit_email"


@dataclass(frozen=True, slots=True)
class _Wish:
    edit: EmailEdit
    is_answered: bool


def register(group: typer.Typer) -> None:
    """Add the ``edit`` command."""
    group.command(
        "edit",
        epilog="Example: payment-worker dead-letters edit 5b1f0c1e-... --email jo@example.org"
        " --reason 'customer called, ticket 4711'",
    )(edit_letter)


def edit_letter(
    typer_context: typer.Context,
    operation_id: Annotated[
        UUID, typer.Argument(metavar="ID", help="As `dead-letters list` shows it.")
    ],
    email: Annotated[str, typer.Option(help="The e-mail it shall have.", metavar="NEW")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Change the e-mail of a payment that failed, so that a replay goes out under the new one.

    Nothing else can be changed, and no option exists for it: amount, parties, types, run mode and
    keys are locked; what is wrong there needs a new request from its producer. Only where nothing
    was applied or may have been. Audited, without the e-mail. A message that was refused for its
    e-mail alone is asked for under its own key, as a first request, and its letter is resolved.
    Run again after a crash, it finishes what was begun. Off unless operators.may_edit_email is on.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    wish = _Wish(_edit(context, operation_id, email, reason), is_answered=yes)
    if not yes:
        context.output.expect_somebody()
    return _tell(context, operation_id, run_with_ledger(_edited(context, wish)))


def _edit(context: CommandContext, operation_id: UUID, email: str, reason: str) -> EmailEdit:
    if not context.loaded().settings.operators.may_edit_email:
        run_with_ledger(_note_denied(context, operation_id))
        raise CommandError(
            "edit_switched_off",
            "Operators may not edit e-mails here.",
            exit_code=ExitCode.CONFIGURATION,
            field=_SWITCH,
            fix=f"Set {_SWITCH} = true, for this command alone with"
            " PAYMENT_WORKER_OPERATORS__MAY_EDIT_EMAIL=true.",
        )
    accepted = accepted_email(email)
    if accepted is None:
        raise CommandError(
            "wrong_email",
            "That is no e-mail that a request may have.",
            exit_code=ExitCode.USAGE,
            field="--email",
            fix="Give one of 3 to 70 characters, with one @, no space, comma or angle bracket.",
        )
    if not reason.strip():
        raise CommandError(
            "reason_missing",
            "An edit needs a reason; it is kept in the audit.",
            exit_code=ExitCode.USAGE,
            field="--reason",
            fix="Say who gave the e-mail and when, without the e-mail itself.",
        )
    return EmailEdit(
        operation_id=operation_id,
        email=accepted,
        actor=operating_system_account(),
        reason=reason.strip(),
    )


async def _note_denied(context: CommandContext, operation_id: UUID) -> None:
    async with opened_ledger(context) as ledger:
        await ledger.acts.note_act(
            operation_id,
            actor=operating_system_account(),
            action="edit",
            detail="edit_switched_off",
            is_denied=True,
        )


async def _edited(context: CommandContext, wish: _Wish) -> EditReport:
    edit = wish.edit
    async with opened_ledger(context) as ledger:
        bar = await bar_of(ledger, edit.operation_id)
        if bar is not None:
            return EditReport(result=EditResult.NOT_EDITED, reason=bar)
        async with opened_desk(context) as desk:
            edits = Edits(ledger=ledger, queue=desk.dead_letters, publisher=desk.publisher)
            if not wish.is_answered:
                found = await edits.look(edit)
                if isinstance(found, EditReport):
                    return found
                _show_difference(context, found, edit.email)
                question = f"Change the e-mail of {edit.operation_id}?"
                context.output.confirm(question, is_answered=False)
            return await edits.edit(edit)


def _show_difference(context: CommandContext, old: Secret | None, new: str) -> None:
    """The one place that shows an e-mail, and only to a person at a terminal."""
    if old is None:
        context.output.confide(f"  + {_masked(new)}")
        context.output.say("It was refused for its e-mail: with this one it is a first request.")
        return
    before, after = _masked(old.reveal()), _masked(new)
    context.output.confide(f"  - {before}\n  + {after}")
    if old.reveal() == new:
        context.output.say("They are the same.")
    elif before == after:
        context.output.say("They differ in what is masked.")


def _masked(email: str) -> str:
    """The name before the ``@`` but for its ends; a slip in the rest must be seen."""
    name, _, host = email.rpartition("@")
    return f"{name[:1]}***{name[-1:]}@{host}"


def _tell(context: CommandContext, operation_id: UUID, report: EditReport) -> ExitCode:
    output = context.output
    if output.is_json:
        output.record(
            {
                "payment_id": report.payment_id or operation_id,
                "operation_id": operation_id,
                "result": report.result,
                "sequence": report.sequence,
                "reason": report.reason,
                "faults": [{"field": fault.field, "code": fault.code} for fault in report.faults],
                "rotated": report.rotated,
                "removed": report.removed,
                "complete": report.is_complete,
            }
        )
    match report.result:
        case EditResult.EDITED | EditResult.UNCHANGED:
            changed = report.result is EditResult.EDITED
            output.success("The e-mail is changed." if changed else "It has that e-mail already.")
            output.say(f"Next: payment-worker dead-letters replay {operation_id} --reason ...")
            return ExitCode.OK
        case EditResult.ASKED_AGAIN:
            output.success(
                f"It is asked for again as payment {report.payment_id}, with the new e-mail; the"
                " refused letter is resolved."
            )
            output.say(f"Next: payment-worker payments show {report.payment_id}")
            return ExitCode.OK
        case EditResult.NOT_EDITED:
            about = "".join(f" {fault.field}: {fault.message}" for fault in report.faults)
            output.warn(
                f"Not edited: {report.reason}.{about}",
                fix="What an edit cannot mend needs a new request from its producer; the letter"
                " is kept.",
            )
        case EditResult.NOT_FOUND:
            output.warn(
                "No letter of it is in the queue.",
                fix="Its copy may still be on its way: try again in a minute."
                if report.is_complete
                else "Somebody else took letters meanwhile: try again.",
            )
        case EditResult.NOT_CONFIRMED:
            output.warn(
                "Stopped: the broker did not confirm. The letter is still in the queue.",
                fix="Run the same command again once the broker confirms: it finishes the edit.",
            )
        case other:
            assert_never(other)
    return ExitCode.FAILED
