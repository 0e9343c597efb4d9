"""An export or an import killed at any step: no letter is lost, and no half file is believed."""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from tests.builders import NOON
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.fused_store import FusedStore
from tests.unit.test_walks import Office
from worker.ledger import Ledger
from worker.model import Environment
from worker.operators.exports.exporting import Exporter
from worker.operators.exports.files import read_export, writing_export
from worker.operators.exports.importing import Importer
from worker.operators.exports.lines import ExportHeader

KEYS = ("key-1", "key-2", "key-3")
HEADER = ExportHeader(environment=Environment.STAGING, exported_at=NOON)

Act = Callable[[Office, Path, Fuse], Awaitable[None]]


def ledger_of(office: Office, fuse: Fuse) -> Ledger:
    world = office.world
    return Ledger(store=FusedStore(world.store, fuse), rules=world.rules, clock=world.clock)


async def export(office: Office, path: Path, fuse: Fuse) -> None:
    """One run of the command, until the fuse ends it."""
    exporter = Exporter(
        ledger=ledger_of(office, fuse),
        queue=FusedLetterQueue(office.queue, fuse),
        publisher=FusedPublisher(office.world.broker, fuse),
        actor="anna",
    )
    with writing_export(path, HEADER) as writer:
        await exporter.export(writer, wanted=None, on_progress=lambda _steps: None)


async def bring_in(office: Office, path: Path, fuse: Fuse) -> None:
    importer = Importer(ledger=ledger_of(office, fuse), actor="anna")
    await importer.bring_in(
        read_export(path),
        queue=FusedLetterQueue(office.queue, fuse),
        publisher=FusedPublisher(office.world.broker, fuse),
        reason="another broker",
        on_fate=lambda _letter, _fate: None,
        on_met=lambda _steps: None,
    )


async def killed(act: Act, office: Office, path: Path, fuse: Fuse) -> None:
    """Kill a command; what it held goes back, and its lock ends with its lease."""
    with suppress(KilledError):
        await act(office, path, fuse)
    office.queue.lose_connection()
    office.collect()
    office.world.clock.advance(60)


def held(office: Office) -> Counter[str | None]:
    """The letters of the queue by name."""
    return Counter(office.names)


async def export_killed_at(place: int, directory: Path) -> bool:
    office = await Office().failed(*KEYS)
    path, fuse = directory / f"{place}.jsonl", Fuse(at=place)
    await killed(export, office, path, fuse)
    assert held(office).keys() == set(KEYS), fuse.passed
    assert held(office).total() <= len(KEYS) + 1, "only what was in hand may be there twice"
    assert names(directory) <= {path.name}, "no file, or all of it"
    if names(directory):
        assert read_export(path).letters == len(KEYS)
        path.unlink()
    await killed(export, office, path, Fuse())
    assert read_export(path).letters == len(KEYS)
    assert held(office).keys() == set(KEYS)
    path.unlink()
    return fuse.is_blown


async def import_killed_at(place: int, directory: Path) -> bool:
    """One letter is in the queue already; the other two come from the file."""
    office = await Office().failed(*KEYS)
    path, fuse = directory / f"{place}.jsonl", Fuse(at=place)
    await killed(export, office, path, Fuse())
    office.queue.letters.popleft()
    office.queue.letters.pop()
    await killed(bring_in, office, path, fuse)
    assert "key-2" in held(office), fuse.passed
    assert held(office).total() <= len(KEYS) + 1
    await killed(bring_in, office, path, Fuse())
    assert held(office).keys() == set(KEYS), fuse.passed
    assert held(office).total() <= len(KEYS) + 1, "what the killed run published is left out"
    assert office.world.providers.applied.total() == 0
    return fuse.is_blown


def names(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


async def test_an_export_killed_anywhere_leaves_every_letter_and_no_half_file(
    tmp_path: Path,
) -> None:
    place = 1
    while await export_killed_at(place, tmp_path):
        place += 1
    assert place > 25, "the steps of three letters"


async def test_an_import_killed_anywhere_is_made_good_by_the_next(tmp_path: Path) -> None:
    place = 1
    while await import_killed_at(place, tmp_path):
        place += 1
    assert place > 15, "the walk past one letter, and two that are published"
