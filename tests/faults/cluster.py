"""A cluster of three nodes under load: leaders killed, a minority frozen, all restarted in turn.

``python -m tests.faults.cluster --seed 7 --minutes 3`` ends with a report; it exits with 0 when
after each of them nothing was lost, left open or applied twice, else with 1.
"""

import argparse
import asyncio
import logging
import shutil
import tempfile
from pathlib import Path

from tests.faults.cluster_run import suffer


def main() -> int:
    """Run as the command line says and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cluster", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="drives the payments (%(default)s)")
    parser.add_argument("--minutes", type=float, default=3.0, help="time under load (%(default)s)")
    options = parser.parse_args()
    for name in ("aio_pika", "aiormq"):  # they report each refused connect of a node that is away
        logging.getLogger(name).setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="payment-worker-cluster-logs-"))
    print(f"logs: {directory}", flush=True)
    report = asyncio.run(suffer(directory, seed=options.seed, minutes=options.minutes, say=_say))
    print("\n".join(("", *report.lines())))
    if report.is_good:
        print("\ngood: every figure that must be 0 is 0")
        shutil.rmtree(directory)
        return 0
    print("\n".join(("", "NOT GOOD:", *report.offenders(), f"logs: {directory}")))
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
