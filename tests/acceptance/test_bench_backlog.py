"""The bench of long queues measures what it says, with a few messages; nothing here is timed."""

from pathlib import Path

import pytest

from tests.bench.backlog.beside import measure_ladder, measure_letters, told_letters
from tests.bench.backlog.drain import drain
from tests.bench.throughput.site import Site
from tests.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.time_limit(120)]

FEW, MORE = 300, 8_000


async def test_everything_is_drained_by_the_worker_itself(broker: Broker, tmp_path: Path) -> None:
    drained = await drain(Site(broker=broker, directory=tmp_path), messages=FEW)
    assert drained.payments == FEW
    assert drained.paces[0].waiting > 0
    assert drained.most > 20
    assert drained.growth is None, "too few to say anything"
    assert drained.told()


async def test_what_lies_between_two_windows_is_moved_out_of_the_way(
    broker: Broker, tmp_path: Path
) -> None:
    site = Site(broker=broker, directory=tmp_path)
    drained = await drain(site, messages=MORE, windows=(1.0, 0.5), seconds=0.5)
    assert drained.payments < MORE / 2
    first, second = drained.paces
    assert first.waiting > 0.6 * MORE > second.waiting


async def test_copies_on_the_ladder_stay_there_while_the_worker_is_idle(
    broker: Broker, tmp_path: Path
) -> None:
    site = Site(broker=broker, directory=tmp_path)
    found = await measure_ladder(site, waiting=FEW, seconds=0.5, patience=0.0)
    assert [each.waiting for each in found] == [0, FEW, 0]


async def test_work_goes_on_beside_dead_letters(broker: Broker, tmp_path: Path) -> None:
    site = Site(broker=broker, directory=tmp_path)
    without, beside = await measure_letters(site, letters=FEW, messages=100, rounds=1, patience=0.0)
    assert (without.letters, beside.letters) == (0, FEW)
    assert min(*without.rates, *beside.rates) > 0
    assert told_letters(without, beside)
