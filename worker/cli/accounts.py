"""``payment-worker accounts``: how the providers' accounts stand; pause, resume and probe them."""

from collections.abc import Mapping
from typing import Annotated

import typer

from worker.cli.account_shown import show_accounts, tell_obeyed, tell_probed
from worker.cli.actor import operating_system_account
from worker.cli.completions import accounts
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.lifecycle.switches import Asked, SwitchWish
from worker.operators.accounts import CONFIRM_SECONDS, obeyed, probed, standings
from worker.switchboard import WAITING
from worker.switches import EVERY_ACCOUNT

AccountArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ACCOUNT]", help="As in the settings.", autocompletion=accounts, show_default=False
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why, without names; kept in the audit.")
]
WaitOption = Annotated[
    float, typer.Option(help="Seconds to wait for the workers to say that they obey.", min=0.0)
]


def register(app: typer.Typer) -> None:
    """Add the ``accounts`` commands."""
    group = typer.Typer(
        help="Show the providers' accounts; pause, resume and probe them.",
        epilog="Example: payment-worker accounts --json",
        invoke_without_command=True,
    )
    group.callback()(_list)
    group.command(
        "pause", epilog="Example: payment-worker accounts pause bank --reason 'ticket 4711'"
    )(_pause)
    group.command(
        "resume", epilog="Example: payment-worker accounts resume --all --reason 'outage over'"
    )(_resume)
    group.command(
        "probe", epilog="Example: payment-worker accounts probe bank --reason 'password mended'"
    )(_probe)
    app.add_typer(group, name="accounts")


def _list(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Show every account: whether operators have paused it, and how the workers' breakers stand.

    Read from the ledger alone; a worker reports within 15 seconds.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    if typer_context.invoked_subcommand is None:
        run_with_ledger(_listed(context))
    else:
        typer_context.obj = context.options  # given before the command's name, they count for it
    return ExitCode.OK


def _pause(
    typer_context: typer.Context,
    account: AccountArgument = None,
    *,
    reason: ReasonOption,
    every: Annotated[
        bool, typer.Option("--all", help="Stop all consumption: messages stay in the work queue.")
    ] = False,
    wait: WaitOption = CONFIRM_SECONDS,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Stop the calls of one account, or everything; nothing fails, and no payment is lost.

    Its messages wait, calls under way end, and other accounts go on. It holds until `resume`,
    through restarts, and works while the broker is down. A request's own time limit goes on.
    Exit 3 when a worker has not said in time that it obeys.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    wish = _wish(account, reason, is_every=every)
    return run_with_ledger(_paused(context, wish, wait))


def _resume(
    typer_context: typer.Context,
    account: AccountArgument = None,
    *,
    reason: ReasonOption,
    every: Annotated[
        bool, typer.Option("--all", help="End the pause of everything; single ones stay.")
    ] = False,
    wait: WaitOption = CONFIRM_SECONDS,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Let an account be called again, or everything that was stopped with `pause --all`.

    What waited meanwhile comes back by itself within two minutes.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    wish = _wish(account, reason, is_every=every)
    return run_with_ledger(_resumed(context, wish, wait))


def _probe(
    typer_context: typer.Context,
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="As in the settings.", autocompletion=accounts)
    ],
    *,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, without names; kept in the audit.")
    ] = "no reason given",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for what comes of it.", min=0.0)
    ] = 30.0,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Let an open breaker try one payment now, instead of when its pause is over.

    Exit 1 when the account failed again, 3 while no payment has come by.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    wish = _wish(account, reason, is_every=False)
    return run_with_ledger(_probed(context, wish, wait))


def _wish(account: str | None, reason: str, *, is_every: bool) -> SwitchWish:
    if (account is not None) is is_every:
        raise CommandError(
            "which_account",
            "Say which account: its name, or --all.",
            exit_code=ExitCode.USAGE,
            fix="Give exactly one of the two; `payment-worker accounts` lists them.",
        )
    if not reason.strip():
        raise CommandError(
            "reason_missing",
            "The audit needs a reason.",
            exit_code=ExitCode.USAGE,
            field="--reason",
            fix="Write why in a few words, without names: --reason 'ticket 4711'.",
        )
    return SwitchWish(
        account=account or EVERY_ACCOUNT, actor=operating_system_account(), reason=reason.strip()
    )


def _known(context: CommandContext) -> tuple[str, ...]:
    return tuple(sorted(context.loaded().settings.accounts))


def _expect_known(context: CommandContext, account: str, others: Mapping[str, object]) -> None:
    known = {*_known(context), *others, EVERY_ACCOUNT}
    if account not in known:
        raise CommandError(
            "unknown_account",
            f"The settings have no account {account}.",
            exit_code=ExitCode.USAGE,
            field="ACCOUNT",
            fix=f"There are: {', '.join(_known(context))}.",
        )


def _meant(context: CommandContext, account: str) -> tuple[str, ...]:
    return _known(context) if account == EVERY_ACCOUNT else (account,)


async def _listed(context: CommandContext) -> None:
    async with opened_ledger(context) as ledger:
        found = await standings(ledger, _known(context))
    show_accounts(context.output, found, context.loaded().settings.route_book().accounts)


async def _paused(context: CommandContext, wish: SwitchWish, wait: float) -> ExitCode:
    _expect_known(context, wish.account, {})
    async with opened_ledger(context) as ledger:
        done = await ledger.accounts.pause(wish)
        meant = _meant(context, wish.account)
        workers = await obeyed(ledger, accounts=meant, is_paused=True, seconds=wait)
    return tell_obeyed(context.output, "pause", wish.account, done, workers)


async def _resumed(context: CommandContext, wish: SwitchWish, wait: float) -> ExitCode:
    async with opened_ledger(context) as ledger:
        switches = await ledger.accounts.switches()
        _expect_known(context, wish.account, switches)
        done = await ledger.accounts.resume(wish)
        others = await ledger.accounts.switches()
        still = {name for name, each in others.items() if each.pause is not None}
        meant = [] if still & {EVERY_ACCOUNT} else _meant(context, wish.account)
        workers = await obeyed(
            ledger,
            accounts=[each for each in meant if each not in still],
            is_paused=False,
            seconds=wait,
        )
    return tell_obeyed(
        context.output, "resume", wish.account, done, workers, still=sorted(still - {EVERY_ACCOUNT})
    )


async def _probed(context: CommandContext, wish: SwitchWish, wait: float) -> ExitCode:
    _expect_known(context, wish.account, {})
    async with opened_ledger(context) as ledger:
        asked = await ledger.accounts.ask_probe(wish)
        if not isinstance(asked, Asked):
            raise CommandError(
                "account_paused",
                f"It is paused by {asked.pause.actor}"
                f" since {asked.pause.since:%Y-%m-%d %H:%M:%SZ}: {asked.pause.reason}",
                exit_code=ExitCode.FAILED,
                field=wish.account,
                fix=f"Let it be called first: payment-worker accounts resume {wish.account}"
                " --reason TEXT, or --all.",
            )
        reports = await probed(
            ledger, account=wish.account, asked=asked.wish, pending=WAITING, seconds=wait
        )
    return tell_probed(context.output, wish.account, asked.wish, reports)
