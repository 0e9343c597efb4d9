"""``payment-worker topology``: the broker's objects, shown, created and compared."""

import typer

from worker.adapters.connection import connected
from worker.adapters.topology import Finding, declare, verify
from worker.cli.broker import run_with_broker
from worker.cli.context import ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.provisioning import topology_of
from worker.rules import BrokerAddress
from worker.topology import Topology


def register(app: typer.Typer) -> None:
    """Add the ``topology`` commands."""
    group = typer.Typer(
        help="Show, create or verify the broker's objects.",
        epilog="Example: payment-worker topology verify",
        no_args_is_help=True,
    )
    group.command("show", epilog="Example: payment-worker topology show --json")(_show)
    group.command("apply", epilog="Example: payment-worker topology apply")(_apply)
    group.command("verify", epilog="Example: payment-worker topology verify --json")(_verify)
    app.add_typer(group, name="topology")


def _show(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> None:
    """List every exchange, queue and binding with its arguments; asks no broker."""
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    rows = topology_of(context.loaded().settings).rows()
    context.output.table(("kind", "name", "details"), rows)


def _apply(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Create what is missing over AMQP, then verify; existing objects are never changed.

    For demonstrations, tests and small installations. In production an administrator imports
    the definitions instead; the two ways are never mixed on one virtual host.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    settings = context.loaded().settings
    topology, address = topology_of(settings), settings.broker_address("operate")
    findings = run_with_broker(_declared(address, topology))
    context.output.table(("kind", "name", "verdict", "reason"), _rows(findings))
    return _verdict(findings)


def _verify(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Compare the broker's objects with what they must be; changes nothing.

    Over AMQP bindings and policies cannot be seen: they are reported as skip, never as ok.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    settings = context.loaded().settings
    topology, address = topology_of(settings), settings.broker_address("operate")
    findings = run_with_broker(_verified(address, topology))
    context.output.table(("kind", "name", "verdict", "reason"), _rows(findings))
    return _verdict(findings)


async def _declared(address: BrokerAddress, topology: Topology) -> list[Finding]:
    async with connected(address, role="topology") as connection:
        await declare(connection, topology)
        return await verify(connection, topology)


async def _verified(address: BrokerAddress, topology: Topology) -> list[Finding]:
    async with connected(address, role="topology") as connection:
        return await verify(connection, topology)


def _rows(findings: list[Finding]) -> list[dict[str, object]]:
    return [
        {"kind": each.kind, "name": each.name, "verdict": each.verdict, "reason": each.reason}
        for each in findings
    ]


def _verdict(findings: list[Finding]) -> ExitCode:
    return ExitCode.CONFIGURATION if any(each.is_fault for each in findings) else ExitCode.OK
