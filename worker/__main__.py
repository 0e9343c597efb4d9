"""Where the program starts and how it ends: every way out has its exit code."""

import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from worker.cli import build_application
from worker.cli.exit_codes import CommandError, ExitCode, SeveralFaultsError
from worker.cli.output import Format, Output

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
    except typer.Abort:
        output.say("Cancelled.")
        return ExitCode.CANCELLED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line, never a traceback
        failures = _failures(error, is_verbose="--verbose" in arguments)
        output.errors(failures)
        return failures[0].exit_code
    return result if isinstance(result, int) else ExitCode.OK


def _usage(error: typer.TyperException) -> CommandError:
    about, is_of_id, _ = error.format_message().partition(_NO_ID)
    if is_of_id:
        return CommandError(
            "usage",
            f"{about}That is no id: one has 36 characters, four of them dashes.",
            exit_code=ExitCode.USAGE,
            fix=f"Copy the whole id from the first column of `payment-worker {_lister(error)}`.",
        )
    return CommandError(
        "usage",
        error.format_message(),
        exit_code=ExitCode.USAGE,
        fix="See `payment-worker --help`, or --help after the name of the command.",
    )


def _lister(error: typer.TyperException) -> str:
    """The command that lists ids of the kind that the failed one takes."""
    context = getattr(error, "ctx", None)
    path = "" if context is None else str(context.command_path)
    return "dead-letters list" if "dead-letters" in path.split() else "payments find"


def _failures(error: Exception, *, is_verbose: bool) -> Sequence[CommandError]:
    from worker.cli.failures import failures_of  # noqa: PLC0415 - only who fails waits for it

    return failures_of(error, is_verbose=is_verbose)


def _wants_json(arguments: Sequence[str]) -> bool:
    shapes = {"--json", "json", "jsonl", "--output=json", "--output=jsonl", "-ojson", "-ojsonl"}
    return not shapes.isdisjoint(arguments)


if __name__ == "__main__":
    main()
