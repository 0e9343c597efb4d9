"""Every fault of a connection once, at the product's default settings, and what each one cost.

``python -m tests.faults.connections --seed 7`` ends with a table; it exits with 0 when nothing was
lost, left open or applied twice, else with 1.
"""

import argparse
import asyncio
import logging
import shutil
import tempfile
from pathlib import Path

from tests.broker import private_broker
from tests.faults.connection_run import Measured, play, table
from tests.faults.connection_scenes import SCENES
from tests.faults.connection_site import DEFAULTS, SHORTENED, Conditions


def main() -> int:
    """Run as the command line says and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.connections", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="drives the payments (%(default)s)")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--short", action="store_true", help="with the heartbeat of the tests")
    options = parser.parse_args()
    for name in ("aio_pika", "aiormq"):  # they report each refused connect of a broker that is away
        logging.getLogger(name).setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="payment-worker-connections-"))
    print(f"logs: {directory}", flush=True)
    conditions = SHORTENED if options.short else DEFAULTS
    measured = asyncio.run(_play_all(directory, conditions, options.seed, options.only))
    print("\n".join(("", *table(measured))))
    bad = [each for each in measured if not each.is_good]
    for each in bad:
        print(f"NOT GOOD: {each.scene.name}: {each.cost}")
    if not bad:
        shutil.rmtree(directory)
    return 1 if bad else 0


async def _play_all(
    directory: Path, conditions: Conditions, seed: int, only: str
) -> list[Measured]:
    measured: list[Measured] = []
    with private_broker() as broker:
        for number, scene in enumerate(SCENES):
            if only not in scene.name:
                continue
            print(f"{scene.name} ...", flush=True)
            place = directory / str(number)
            place.mkdir()
            measured.append(await play(scene, broker, place, conditions, seed=seed))
    return measured


if __name__ == "__main__":
    raise SystemExit(main())
