"""Long queues: ``python -m tests.bench.backlog --messages 100000``.

A worker drains a queue, at a steady pace and within bounded memory; it has nothing to do while
others wait on the ladder; dead letters lie beside its work queue and do not slow it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.backlog.beside import measure_ladder, measure_letters, told_letters
from tests.bench.backlog.drain import drain
from tests.bench.throughput.site import Site
from tests.broker import private_broker

WINDOWS = (1.0, 0.5, 0.05)


async def measure(site: Site, options: argparse.Namespace) -> None:
    """Whatever is asked for: told to people on stderr, and as a line of JSON on stdout."""
    if "drain" in options.only:
        windows = WINDOWS if options.windows else ()
        drained = await drain(
            site, messages=options.messages, windows=windows, seconds=options.seconds
        )
        _tell("drain", drained.told(), asdict(drained))
    if "ladder" in options.only:
        found = await measure_ladder(site, waiting=options.beside, seconds=options.seconds)
        lines = [
            f"{each.waiting:9,} on the ladder: {each.worker:.4f} processors of the worker,"
            f" {each.broker:.4f} of the broker"
            for each in found
        ]
        _tell("ladder", "\n".join(lines), [asdict(each) for each in found])
    if "letters" in options.only:
        without, beside = await measure_letters(
            site, letters=options.beside, messages=options.turn, rounds=options.rounds
        )
        _tell("letters", told_letters(without, beside), [asdict(without), asdict(beside)])


def _tell(name: str, text: str, figures: object) -> None:
    print(text, file=sys.stderr, flush=True)
    print(json.dumps({name: figures}), flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(prog="python -m tests.bench.backlog", description=__doc__)
    parsed.add_argument(
        "--only",
        action="append",
        choices=("drain", "ladder", "letters"),
        help="one of the three, again for more",
    )
    parsed.add_argument("--messages", type=int, default=100_000, help="waiting to be drained")
    parsed.add_argument(
        "--windows",
        action="store_true",
        help="watch the worker with all, half and a twentieth of them left, and skip the others",
    )
    parsed.add_argument("--seconds", type=float, default=60.0, help="of a window, of idleness")
    parsed.add_argument("--beside", type=int, default=100_000, help="on the ladder; dead letters")
    parsed.add_argument("--turn", type=int, default=3_000, help="requests beside dead letters")
    parsed.add_argument("--rounds", type=int, default=5, help="with and without dead letters")
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on a private broker."""
    options = parser().parse_args(arguments)
    options.only = options.only or ["drain", "ladder", "letters"]
    with private_broker() as broker, tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Site(broker=broker, directory=Path(directory)), options))


if __name__ == "__main__":
    main()
