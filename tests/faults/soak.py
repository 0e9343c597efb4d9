"""The long run: real processes, SIGKILL at random moments, broker restarts, faulty providers.

``python -m tests.faults.soak --minutes 10 --seed 7 --kill-every 5 --provider-faults 0.3`` ends
with a report; it exits with 0 when nothing was lost, paid twice or left open, else with 1.
"""

import argparse
import asyncio
import logging
import shutil
import signal
import tempfile
from dataclasses import fields
from pathlib import Path

from tests.faults.soak_options import LedgerKind, Options
from tests.faults.soak_report import Report
from tests.faults.soak_run import soak

CANCELLED = 130


def main() -> int:
    """Run as the command line says and return the exit code."""
    options = _options()
    for name in ("aio_pika", "aiormq"):  # they report each refused connect of a broker that is away
        logging.getLogger(name).setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="payment-worker-soak-"))
    print(f"python -m tests.faults.soak {options.described()}")
    print(f"logs: {directory}", flush=True)
    try:
        report = asyncio.run(_interruptible(options, directory))
    except asyncio.CancelledError:
        print("ended at once, nothing judged")
        return CANCELLED
    print(f"\npython -m tests.faults.soak {options.described()}")
    print("\n".join(report.lines()))
    if report.is_good:
        print("\ngood: every figure that must be 0 is 0")
        if report.is_remarkable:
            print(f"logs: {directory}")
        else:
            shutil.rmtree(directory)
        return 0
    print("\n".join(("", "NOT GOOD:", *report.offenders(), f"logs: {directory}")))
    return 1


async def _interruptible(options: Options, directory: Path) -> Report:
    """The first interrupt ends the load, the second one ends everything at once."""
    stop = asyncio.Event()
    running = asyncio.create_task(soak(options, directory, stop=stop, say=_say))

    def interrupt() -> None:
        if stop.is_set():
            running.cancel()
            return
        stop.set()
        _say("interrupted: the load ends, what was sent is still decided; once more ends at once")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await running


def _say(line: str) -> None:
    print(line, flush=True)


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    helps = {
        "minutes": "how long payments are sent",
        "seed": "drives every choice",
        "rate": "payments per second",
        "workers": "worker processes",
        "kill_every": "seconds between two SIGKILLs on average; 0: never",
        "broker_restart_every": "seconds from one broker restart to the next; 0: never",
        "provider_faults": "share of provider calls that go wrong",
        "ledger": "sqlite or postgres",
        "max_age": "seconds after which no new attempt starts (timing.max_age)",
        "drain_minutes": "how long to wait for the last decision",
    }
    for each in fields(Options):
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=LedgerKind if each.name == "ledger" else type(each.default),
            default=each.default,
            help=f"{helps[each.name]} (default: %(default)s)",
        )
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
