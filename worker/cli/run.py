"""``payment-worker run``: the worker itself, until it is told to stop."""

import asyncio
import signal
from typing import assert_never

import typer
from prometheus_client import CollectorRegistry

from worker import __version__
from worker.adapters.event_loop import event_loop
from worker.adapters.interpreter import prepare_interpreter
from worker.adapters.store_errors import LedgerError
from worker.adapters.topology import Finding, TopologyRefusedError, Verdict
from worker.app import LedgerFailedError, PartEndedError, ProbePortError, Worker
from worker.cli.context import CommandContext, ConfigOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode, SeveralFaultsError
from worker.cli.opened_ledger import ledger_error
from worker.provisioning import StartRefusedError
from worker.settings import Loaded
from worker.telemetry import LineWriter, Telemetry, configure_logging


def register(app: typer.Typer) -> None:
    """Add the ``run`` command."""
    app.command("run", epilog="Example: payment-worker run --config settings.toml")(_run)


def _run(typer_context: typer.Context, config: ConfigOption = None) -> None:
    """Consume payment requests until SIGTERM or Ctrl-C; a second one stops without draining."""
    context = context_of(typer_context, config=config)
    loaded = context.loaded()
    writer = LineWriter()
    logger = configure_logging(loaded.settings.log.format, loaded.settings.log.level, writer)
    registry = CollectorRegistry()
    telemetry = Telemetry(
        clock=context.clock,
        logger=logger,
        registry=registry,
        version=__version__,
        writer=writer,
    )
    loop = event_loop(loaded.settings.event_loop)
    for warning in loaded.warnings:
        telemetry.warned(warning.sentence, "settings.warning", setting=warning.name)
    prepare_interpreter()
    try:
        with asyncio.Runner(loop_factory=loop.make) as runner:
            runner.run(_serve(context, loaded, telemetry, registry, loop.name))
    except LedgerError as error:
        raise ledger_error(error) from error
    except TopologyRefusedError as refused:
        raise _broker_error(refused.name, f"It cannot be declared: {refused.reason}") from refused
    except StartRefusedError as refused:
        raise SeveralFaultsError(
            [_broker_error(each.name, _sentence(each)) for each in refused.findings]
        ) from refused
    except ProbePortError as taken:
        # Not a wrong setting for certain: who holds the port may go, and a supervisor tries again.
        raise CommandError(
            "probe_port",
            f"The port of the probes cannot be opened: {taken}.",
            exit_code=ExitCode.FAILED,
            field="probes.port",
            fix="End the program that holds it (another worker?), or set another probes.port.",
        ) from taken
    except PartEndedError as ended:
        raise CommandError(
            "part_ended",
            f"The {ended.part} of the worker ended by itself; nothing unfinished was acknowledged.",
            exit_code=ExitCode.FAILED,
            fix="Start it again, and report the line of the log that says why.",
        ) from ended
    except LedgerFailedError as failed:
        raise CommandError(
            "ledger_failed",
            "The ledger could not be written and the process ends; nothing was acknowledged.",
            exit_code=ExitCode.FAILED,
            fix="Look at the disk, or at the database server, then start it again.",
        ) from failed


def _broker_error(name: str, sentence: str) -> CommandError:
    return CommandError(
        "topology",
        f"{sentence.rstrip('.')}.",
        exit_code=ExitCode.CONFIGURATION,
        field=name,
        fix="See `payment-worker check --only AMQP`; `topology apply` creates what is missing.",
    )


def _sentence(finding: Finding) -> str:
    """Why an object of the broker keeps a worker from starting."""
    match finding.verdict:
        case Verdict.MISSING:
            return "The broker does not have it"
        case Verdict.MISMATCH:
            return f"It is not as it must be: {finding.reason}"
        case Verdict.SKIP:
            return f"Nobody can tell whose broker this is: {finding.reason}"
        case Verdict.OK:
            return "It is as it must be"
        case other:
            assert_never(other)


async def _serve(
    context: CommandContext,
    loaded: Loaded,
    telemetry: Telemetry,
    registry: CollectorRegistry,
    loop_name: str,
) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    worker = Worker(
        loaded.settings,
        broker=loaded.broker,
        telemetry=telemetry,
        registry=registry,
        clock=context.clock,
    )
    telemetry.noted(
        "Starting",
        "worker.starting",
        environment=loaded.settings.environment,
        version=__version__,
        event_loop=loop_name,
    )
    await worker.run(stop, hurry)
    telemetry.noted("Stopped", "worker.stopped")
