"""Where the program starts and how it ends: every way out has its exit code."""

import errno
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from worker.adapters.clock import SystemClock
from worker.cli import build_application
from worker.cli.exit_codes import CommandError, ExitCode, SeveralFaultsError
from worker.cli.output import Format, Output
from worker.settings import SettingsError
from worker.telemetry import facts_of

_NO_ID = "Input should be a valid UUID"
"""How the option parser begins when it was given something else where an id belongs."""


def main() -> None:
    """Run the command line with the process's arguments and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Prints every error itself.

    Typer's own codes differ from ours (usage 2, abort 1), so it runs without its standalone
    mode. It vendors Click: only its public ``TyperException`` covers errors of use.
    """
    output = Output(Format.JSON if _wants_json(arguments) else Format.AUTO)
    command = get_command(build_application(is_drawn=sys.stdout.isatty()))
    try:
        result = command.main(
            args=list(arguments), prog_name="payment-worker", standalone_mode=False
        )
        sys.stdout.flush()
    except typer.TyperException as error:
        output.error(_usage(error))
        return ExitCode.USAGE
    except CommandError as error:
        output.error(error)
        return error.exit_code
    except SeveralFaultsError as several:
        output.errors(several.errors)
        return several.errors[0].exit_code
    except SettingsError as error:
        output.errors(_of_settings(error))
        return ExitCode.CONFIGURATION
    except typer.Abort:
        output.say("Cancelled.")
        return ExitCode.CANCELLED
    except OSError as error:
        output.error(_unwritten(error) or _unexpected(error, is_verbose="--verbose" in arguments))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line, never a traceback
        output.error(_unexpected(error, is_verbose="--verbose" in arguments))
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.OK


def _usage(error: typer.TyperException) -> CommandError:
    about, is_of_id, _ = error.format_message().partition(_NO_ID)
    if is_of_id:
        return CommandError(
            "usage",
            f"{about}That is no id: one has 36 characters, four of them dashes.",
            exit_code=ExitCode.USAGE,
            fix="Copy the whole id from the first column of `payment-worker dead-letters list`.",
        )
    return CommandError(
        "usage",
        error.format_message(),
        exit_code=ExitCode.USAGE,
        fix="See `payment-worker --help`, or --help after the name of the command.",
    )


def _unwritten(error: OSError) -> CommandError | None:
    """The data could not be printed: the disk behind the output is full."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    return CommandError(
        "no_room",
        f"What was to be printed could not be written: {error.strerror}.",
        exit_code=ExitCode.FAILED,
        fix="Make room where the output goes, or send it elsewhere; then look what was done.",
    )


def _of_settings(error: SettingsError) -> list[CommandError]:
    return [
        CommandError(
            "configuration",
            f"{fault.sentence} ({fault.source}, {fault.check})",
            field=fault.name,
            fix=fault.fix,
            exit_code=ExitCode.CONFIGURATION,
        )
        for fault in error.faults
    ]


def _unexpected(error: Exception, *, is_verbose: bool) -> CommandError:
    """One line with an id; where it happened only on request, what it was given never."""
    facts = facts_of(error)
    places = f" {' < '.join(reversed(facts['error.stack']))}" if is_verbose else ""
    return CommandError(
        "unexpected",
        f"Unexpected {facts['error.type']}, id {SystemClock().nonce()[:8]}.{places}",
        exit_code=ExitCode.FAILED,
        fix=None if is_verbose else "Run it again with --verbose before the command's name.",
    )


def _wants_json(arguments: Sequence[str]) -> bool:
    shapes = {"--json", "json", "jsonl", "--output=json", "--output=jsonl", "-ojson", "-ojsonl"}
    return not shapes.isdisjoint(arguments)


if __name__ == "__main__":
    main()
