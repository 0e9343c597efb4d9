"""What a payment costs, and what it costs elsewhere: ``deploy/bench``."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.bench.throughput.cases import QUICK, WHOLE, Plan
from tests.bench.throughput.picture import draw
from tests.bench.throughput.report import Report
from tests.bench.throughput.run import run
from tests.bench.throughput.site import Site
from tests.bench.throughput.table import show
from tests.broker import private_broker
from tests.postgres import private_server

_WIDTH = 170


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the command line asks for; raises ``ValueError`` where it names nothing."""
    plan = (QUICK if options.quick else WHOLE).only(options.only)
    if options.messages is not None:
        plan = replace(plan, messages=options.messages)
    if options.rounds is not None:
        plan = replace(plan, rounds=options.rounds)
    if not plan.cases and not plan.paced:
        raise ValueError
    return plan


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(
        prog="deploy/bench",
        description=__doc__,
        epilog="Example: deploy/bench --quick --only worker-sqlite --only bare --json run.json",
    )
    parsed.add_argument("--quick", action="store_true", help="some minutes, rough figures")
    parsed.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="cases whose name begins so, again for more: worker-sqlite, bare/200/0ms ...",
    )
    parsed.add_argument("--json", type=Path, metavar="FILE", help="write all raw figures")
    parsed.add_argument("--picture", type=Path, metavar="FILE", help="draw them: svg, png or pdf")
    parsed.add_argument("--relative-to", type=Path, default=Path(), help=argparse.SUPPRESS)
    parsed.add_argument("--messages", type=int, metavar="N", help="of each measurement")
    parsed.add_argument("--rounds", type=int, metavar="N", help="repetitions of each case")
    return parsed


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; 1 where a count was wrong, 64 where no case has such a name, 130."""
    options = parser().parse_args(arguments)
    try:
        plan = plan_of(options)
    except ValueError:
        names = " ".join(WHOLE.names)
        print(f"deploy/bench: no case has such a name; there are: {names}", file=sys.stderr)
        return 64
    try:
        report = measure_all(plan)
    except KeyboardInterrupt:
        print("deploy/bench: stopped; nothing is left running", file=sys.stderr)
        return 130
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    show(report, console)
    if options.json is not None:
        report.write(options.relative_to / options.json)
    if options.picture is not None:
        draw(report, options.relative_to / options.picture)
    return 1 if report.faults else 0


def measure_all(plan: Plan) -> Report:
    """Run a plan on a private broker and, where a case needs it, a private database server."""
    with ExitStack() as stack:
        broker = stack.enter_context(private_broker())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="payment-bench-"))
        needs_postgres = any("postgres" in name for name in plan.names)
        postgres = stack.enter_context(private_server()) if needs_postgres else None
        site = Site(broker=broker, directory=Path(directory), postgres=postgres)
        return asyncio.run(run(site, plan, lambda line: print(line, file=sys.stderr, flush=True)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
