"""``payment-worker simulate``: both provider APIs on this machine, with faults on demand."""

import asyncio
import signal
from typing import Annotated

import typer

from worker.cli.context import CommandContext, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.simulator.magic import MAGIC
from worker.simulator.server import Knobs, Simulator

_HOST = Annotated[str, typer.Option(help="Address to listen on.")]
_PORT = Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)]
_RATE = Annotated[float, typer.Option(help="Share of calls that go wrong.", min=0.0, max=1.0)]
_FAULT = Annotated[
    list[str] | None, typer.Option("--fault", help="A fault drawn by rate; may be repeated.")
]
_LATENCY = Annotated[float, typer.Option(help="Seconds added to every call.", min=0.0)]
_SEED = Annotated[int, typer.Option(help="Makes the drawn faults repeatable.")]
_LIST = Annotated[bool, typer.Option("--list", help="Print the magic names and leave.")]
_LINK_HOST = Annotated[str, typer.Option(help="Host of the links it hands out.")]


def register(app: typer.Typer) -> None:
    """Add the ``simulate`` command."""
    app.command("simulate", epilog="Example: payment-worker simulate --port 8080 --fault-rate 0.1")(
        _simulate
    )


def _simulate(
    typer_context: typer.Context,
    host: _HOST = "127.0.0.1",
    port: _PORT = 8080,
    fault_rate: _RATE = 0.0,
    fault: _FAULT = None,
    latency: _LATENCY = 0.0,
    seed: _SEED = 0,
    link_host: _LINK_HOST = "pay.simulator.example",
    list_names: _LIST = False,
    json: JsonOption = False,
) -> None:
    """Serve both providers; ``sim+<name>@...`` as customer e-mail chooses a fault.

    Login and password are ``demo``, the basket's orig is ``demo.example``, its secret ``demo``.
    """
    context = context_of(typer_context, json=json)
    if list_names:
        rows = [{"name": name, "does": magic.does} for name, magic in MAGIC.items()]
        context.output.table(("name", "does"), rows)
        return
    knobs = Knobs(fault_rate=fault_rate, seed=seed, latency=latency)
    if fault:
        knobs = Knobs(fault_rate=fault_rate, seed=seed, latency=latency, faults=tuple(fault))
    try:
        simulator = Simulator(host, port, clock=context.clock, knobs=knobs, link_host=link_host)
    except ValueError as error:
        raise CommandError(
            "usage", str(error), exit_code=ExitCode.USAGE, fix="See --list for the names."
        ) from error
    asyncio.run(_serve(simulator, context))


async def _serve(simulator: Simulator, context: CommandContext) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await simulator.start()
    except OSError as error:
        raise CommandError(
            "address_in_use",
            f"Cannot listen: {error.strerror}.",
            exit_code=ExitCode.FAILED,
            fix="Choose another --port, or 0 for a free one.",
        ) from error
    rows = {"link": simulator.link_base_url, "basket": simulator.base_url}
    context.output.record(
        rows, f"Link provider at {rows['link']}, basket provider at {rows['basket']}"
    )
    try:
        await stop.wait()
    finally:
        await simulator.stop()
