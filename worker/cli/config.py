"""``payment-worker config``: what the settings are, where they come from, what is wrong."""

from typing import Annotated

import typer

from worker.cli.completions import setting_names
from worker.cli.context import ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.settings import SettingsFault, explain, nearest_name, reference

_NAME = Annotated[
    str | None,
    typer.Argument(
        help="A setting or a table, e.g. broker.host or broker.",
        show_default=False,
        autocompletion=setting_names,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the ``config`` commands."""
    group = typer.Typer(
        help="Explain and check the settings.",
        epilog="Example: payment-worker config explain broker",
        no_args_is_help=True,
    )
    group.command("explain", epilog="Example: payment-worker config explain broker")(_explain)
    group.command("reference", epilog="Example: payment-worker config reference > settings.md")(
        _reference
    )
    group.command("check", epilog="Example: payment-worker config check --strict --json")(_check)
    app.add_typer(group, name="config")


def _explain(
    typer_context: typer.Context,
    name: _NAME = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> None:
    """Show every setting with its value (secrets masked), its source and its meaning."""
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    rows = explain(context.loaded(), name)
    if not rows:
        nearest = None if name is None else nearest_name(name)
        raise CommandError(
            "setting_unknown",
            "There is no setting of this name here.",
            field=name,
            exit_code=ExitCode.USAGE,
            fix=f"The nearest known name is {nearest}."
            if nearest
            else "See `payment-worker config reference` for all names.",
        )
    context.output.table(
        ("name", "value", "source", "meaning"),
        [
            {"name": row.name, "value": row.value, "source": row.source, "meaning": row.meaning}
            for row in rows
        ],
        whole=("name",),
    )


def _reference() -> None:
    """Print every setting there is as a Markdown table; needs no settings file."""
    typer.echo(reference(), nl=False)


def _check(
    typer_context: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too (exit 3).")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Read the settings and report every fault and warning; touches neither broker nor ledger."""
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    loaded = context.loaded()
    warnings = loaded.warnings
    if warnings or context.output.is_json:
        context.output.table(
            ("check", "verdict", "name", "source", "sentence"), [_row(each) for each in warnings]
        )
    context.output.success(f"The settings are sound ({len(warnings)} warnings).")
    return ExitCode.PARTIAL if strict and warnings else ExitCode.OK


def _row(fault: SettingsFault) -> dict[str, str]:
    return {
        "check": fault.check,
        "verdict": "warn",
        "name": fault.name,
        "source": fault.source,
        "sentence": fault.sentence,
    }
