"""Letters copied into a file and brought in again: none lost, none twice, none that is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from tests.builders import NOON
from tests.core import (
    CONFIRMED,
    REFUSED,
    SILENT,
    UNAUTHORISED,
    Behaviour,
    Said,
    email_of,
    initiation,
)
from tests.unit.test_export_files import names
from tests.unit.test_walks import Office
from worker.codes import Code
from worker.contract.copies import replay_copy
from worker.identity import identity_of, operation_id_of
from worker.letters import EVERY_LETTER, LetterFilter
from worker.lifecycle.reopen import Reopened
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery, Environment, Origin, Source
from worker.operators.exports.exporting import Exporter, ExportReport, wanted_operations
from worker.operators.exports.files import read_export, writing_export
from worker.operators.exports.importing import Fate, Importer, ImportReport, QueueDisturbedError
from worker.operators.exports.lines import ExportedLetter, ExportHeader
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, QueueLockedError, holding
from worker.ports import StoreUnavailableError

HEADER = ExportHeader(environment=Environment.STAGING, exported_at=NOON)
KEY_1 = operation_id_of(identity_of("dcp", "key-1"))
KEY_2 = operation_id_of(identity_of("dcp", "key-2"))
KEY_3 = operation_id_of(identity_of("dcp", "key-3"))


@dataclass(slots=True)
class Fates:
    """Collects what became of each letter."""

    told: list[tuple[UUID, Fate]] = field(default_factory=list)

    def on(self, letter: ExportedLetter, fate: Fate) -> None:
        self.told.append((letter.operation_id, fate))


def unanswered(key: str, *, email: str | None = None) -> Delivery:
    """A request as the broker gives it up."""
    deaths = '[{"routing-keys": ["payment.initiate.dcp"], "reason": "delivery_limit"}]'
    return replace(
        initiation(key, email=email or email_of(key)), headers=MappingProxyType({"x-death": deaths})
    )


async def export(office: Office, path: Path, wanted: frozenset[UUID] | None = None) -> ExportReport:
    exporter = Exporter(
        ledger=office.ledger, queue=office.queue, publisher=office.world.broker, actor="anna"
    )
    steps: list[int] = []
    with writing_export(path, HEADER) as writer:
        report = await exporter.export(writer, wanted=wanted, on_progress=steps.append)
    office.collect()
    assert sum(steps) == report.kept
    return report


async def bring_in(office: Office, path: Path, fates: Fates | None = None) -> ImportReport:
    importer = Importer(ledger=office.ledger, actor="berta")
    try:
        return await importer.bring_in(
            read_export(path),
            queue=office.queue,
            publisher=office.world.broker,
            reason="another broker",
            on_fate=(fates or Fates()).on,
            on_met=lambda _steps: None,
        )
    finally:
        office.collect()


def messages(office: Office) -> Sequence[OutgoingMessage]:
    """The copies that are in the queue, as they were published last."""
    return office.world.broker.letters[-len(office.queue.letters) :]


def counted(report: ImportReport) -> Mapping[Fate, int]:
    return {fate: count for fate, count in report.fates.items() if count}


async def test_every_letter_is_in_the_file_and_in_the_queue_as_it_was(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    office.queue.letters.append(unanswered("key-3"))
    path = tmp_path / "letters.jsonl"
    report = await export(office, path)
    assert (report.seal.letters, report.kept, report.is_complete) == (3, 3, True)
    assert (report.missing, report.nameless, report.repeated) == (frozenset(), 0, 0)
    assert office.names == ["key-1", "key-2", "key-3"]
    assert office.queue.in_hand == 0
    assert read_export(path).letters == 3


async def test_letters_come_in_byte_for_byte_where_the_queue_has_none(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    office.queue.letters.append(unanswered("key-3"))
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    before = messages(office)
    office.queue.letters.clear()
    fates = Fates()
    report = await bring_in(office, path, fates)
    assert counted(report) == {Fate.IMPORTED: 2, Fate.UNKNOWN: 1}
    assert [each for each, _ in fates.told] == [KEY_1, KEY_2, KEY_3]
    assert messages(office) == before
    assert office.world.providers.applied.total() == 0


async def test_a_second_import_leaves_out_what_the_queue_has(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    office.queue.letters.popleft()
    assert counted(await bring_in(office, path)) == {Fate.IMPORTED: 1, Fate.PRESENT: 1}
    assert counted(await bring_in(office, path)) == {Fate.PRESENT: 2}
    assert sorted(str(name) for name in office.names) == ["key-1", "key-2"]


@pytest.mark.parametrize("is_duplicate", [False, True])
async def test_what_was_paid_here_is_not_paid_again_under_another_ledger(
    is_duplicate: object, tmp_path: Path
) -> None:
    """A request that the broker gave up says nothing of its attempts; the ledger that exports does.

    Neither does one that was answered with another payment's answer.
    """
    here = Office()
    keys = ("key-1", "key-2") if is_duplicate else ("key-2",)
    for key in keys:
        await here.world.worker().processor.handle(initiation(key, email="one@example.org"))
    here.queue.letters.append(unanswered("key-2", email="one@example.org"))
    path = tmp_path / "letters.jsonl"
    await export(here, path)
    there = Office()
    assert counted(await bring_in(there, path)) == {Fate.UNKNOWN: 1}
    (letter,) = there.queue.letters
    copy = replay_copy(letter, sequence=1, replay_count=1, replay_run="R-1", replayed_by="anna")
    await there.world.worker().processor.handle(there.world.broker.copy(copy, Source.REPLAY))
    assert there.world.providers.requests == []
    assert [event["code"] for event in there.world.broker.events] == [Code.LEDGER_LOST]


async def test_only_wanted_letters_are_copied_and_the_missing_ones_named(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    report = await export(office, tmp_path / "letters.jsonl", frozenset({KEY_2, KEY_3}))
    assert (report.seal.letters, report.kept, report.missing) == (1, 2, frozenset({KEY_3}))
    assert office.names == ["key-1", "key-2"]


async def test_a_filter_is_asked_of_the_index(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    assert await wanted_operations(office.ledger, EVERY_LETTER) == {KEY_1, KEY_2}
    company = LetterFilter(codes=frozenset({Code.PROVIDER_CREDENTIALS}), origin=Origin("dcp"))
    assert await wanted_operations(office.ledger, company) == {KEY_1, KEY_2}
    none = await wanted_operations(office.ledger, LetterFilter(origin=Origin("web")))
    assert none == frozenset()
    report = await export(office, tmp_path / "letters.jsonl", none)
    assert report.seal.letters == 0


async def test_a_letter_that_does_not_say_whose_it_is_stays_and_is_counted(tmp_path: Path) -> None:
    """A forged id would not be believed by an import either."""
    office = await Office().failed("key-1", "key-2")
    nameless = replace(
        office.queue.letters[0],
        headers=MappingProxyType({**office.queue.letters[0].headers, "payment-id": str(KEY_2)}),
    )
    office.queue.letters[0] = nameless
    report = await export(office, tmp_path / "letters.jsonl")
    assert (report.seal.letters, report.nameless, report.kept) == (1, 1, 2)
    assert office.names == ["key-1", "key-2"]


async def test_a_second_copy_of_a_letter_is_written_once_and_kept(tmp_path: Path) -> None:
    office = await Office().failed("key-1")
    office.queue.letters.append(office.queue.letters[0])
    report = await export(office, tmp_path / "letters.jsonl")
    assert (report.seal.letters, report.repeated, report.kept) == (1, 1, 2)
    assert office.names == ["key-1", "key-1"]


async def test_both_acts_are_audited_without_a_word_of_the_contents(tmp_path: Path) -> None:
    office = await Office().failed("key-1")
    path = tmp_path / "letters.jsonl"
    report = await export(office, path)
    await bring_in(office, path)
    exported, begun, ended = [
        entry for entry in office.world.store.tables.audit if entry.action in {"export", "import"}
    ]
    named = f"1 letters, sha256 {report.seal.sha256}"
    assert (exported.actor, exported.detail, exported.operation_id) == ("anna", named, None)
    assert (begun.actor, begun.detail) == ("berta", f"begun: {named}: another broker")
    assert ended.detail.startswith(f"ended: {named}: 0 imported, 0 unknown, 1 present")


async def test_a_file_that_nobody_answers_for_is_not_made(tmp_path: Path) -> None:
    office = await Office().failed("key-1")
    store = office.world.store

    exporter = Exporter(
        ledger=office.ledger, queue=office.queue, publisher=office.world.broker, actor="anna"
    )

    def lose_the_ledger(_steps: int) -> None:
        store.unavailable = True

    with (
        pytest.raises(StoreUnavailableError),
        writing_export(tmp_path / "letters.jsonl", HEADER) as writer,
    ):
        await exporter.export(writer, wanted=None, on_progress=lose_the_ledger)
    assert names(tmp_path) == []
    assert len(office.world.broker.letters) == 2, "rotated once"


async def test_a_broker_that_falls_silent_ends_the_export_without_a_file(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    office.world.broker.scripts[Exchange.DEAD_LETTER] = [SILENT]
    with pytest.raises(NotConfirmedError):
        await export(office, tmp_path / "letters.jsonl")
    assert names(tmp_path) == []
    assert office.names == ["key-1", "key-2"]
    assert office.queue.in_hand == 0


@pytest.mark.parametrize("said", [SILENT, REFUSED])
async def test_an_import_that_is_not_confirmed_stops_and_goes_on_when_run_again(
    tmp_path: Path, said: Said
) -> None:
    office = await Office().failed("key-1", "key-2")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    office.queue.letters.clear()
    office.world.broker.scripts[Exchange.DEAD_LETTER] = [CONFIRMED, said]
    report = await bring_in(office, path)
    assert (counted(report), report.is_complete) == ({Fate.IMPORTED: 1}, False)
    assert office.names == ["key-1"]
    again = await bring_in(office, path)
    assert (counted(again), again.is_complete) == ({Fate.PRESENT: 1, Fate.IMPORTED: 1}, True)


async def test_nothing_is_imported_while_another_takes_letters(tmp_path: Path) -> None:
    office = await Office().failed("key-1", "key-2")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    before = len(office.world.broker.letters)
    office.world.broker.after_publishing = office.queue.letters.clear
    with pytest.raises(QueueDisturbedError):
        await bring_in(office, path)
    assert len(office.world.broker.letters) == before + 1, "what was in hand was put back"


async def test_both_walk_alone(tmp_path: Path) -> None:
    office = await Office().failed("key-1")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    async with holding(office.ledger, DEAD_LETTERS, actor="carla", purpose="replay R-1"):
        with pytest.raises(QueueLockedError):
            await export(office, tmp_path / "other.jsonl")
        with pytest.raises(QueueLockedError):
            await bring_in(office, path)
    assert names(tmp_path) == ["letters.jsonl"]


async def test_what_the_ledger_has_moved_beyond_is_left_out(tmp_path: Path) -> None:
    """Failed again since, paid since: a replay would judge both and do nothing with them."""
    office = await Office().failed("key-1", "key-2", "key-3")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    await replayed(office, KEY_1, [UNAUTHORISED])
    await replayed(office, KEY_2, [])
    office.queue.letters.clear()
    office.collected = len(office.world.broker.letters)
    rehearsed = await Importer(ledger=office.ledger, actor="berta").rehearse(
        read_export(path), Fates().on
    )
    assert office.names == []
    expected = {Fate.STALE: 1, Fate.DONE: 1, Fate.IMPORTED: 1}
    assert counted(rehearsed) == expected
    fates = Fates()
    assert counted(await bring_in(office, path, fates)) == expected
    assert fates.told == [(KEY_1, Fate.STALE), (KEY_2, Fate.DONE), (KEY_3, Fate.IMPORTED)]
    assert office.names == ["key-3"]


async def test_an_older_letter_comes_in_while_the_newer_one_is_owed(tmp_path: Path) -> None:
    """A decision of the sweeper has no body: the older letter alone holds the request."""
    office = await Office().failed("key-1")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    await replayed(office, KEY_1, [UNAUTHORISED])
    tables = office.world.store.tables
    newest = tables.records[KEY_1].event_id
    assert newest is not None
    tables.answers[newest] = replace(tables.answers[newest], letter_confirmed=False)
    office.queue.letters.clear()
    office.collected = len(office.world.broker.letters)
    assert counted(await bring_in(office, path)) == {Fate.IMPORTED: 1}


async def test_what_an_operator_has_set_aside_does_not_come_back(tmp_path: Path) -> None:
    office = await Office().failed("key-1")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    office.queue.letters.clear()
    tables = office.world.store.tables
    (event_id,) = tables.answers
    tables.answers[event_id] = replace(tables.answers[event_id], letter_resolved=True)
    assert counted(await bring_in(office, path)) == {Fate.RESOLVED: 1}
    assert office.names == []


async def test_a_letter_no_worker_could_publish_is_noted_as_being_there(tmp_path: Path) -> None:
    office = await Office().failed("key-1")
    path = tmp_path / "letters.jsonl"
    await export(office, path)
    office.queue.letters.clear()
    tables = office.world.store.tables
    (event_id,) = tables.answers
    tables.answers[event_id] = replace(tables.answers[event_id], letter_confirmed=False)
    await bring_in(office, path)
    assert tables.answers[event_id].letter_confirmed


async def replayed(office: Office, operation_id: UUID, behaviours: list[Behaviour]) -> None:
    """Put a letter back to work once, and let a worker decide it; the letter stays where it is."""
    world = office.world
    (letter,) = [
        each for each in office.queue.letters if each.header("payment-id") == str(operation_id)
    ]
    opened = await office.ledger.payments.reopen(
        operation_id, from_sequence=1, actor="carla", run="R-1", reason="mended"
    )
    assert isinstance(opened, Reopened)
    copy = replay_copy(letter, sequence=2, replay_count=1, replay_run="R-1", replayed_by="carla")
    world.providers.behaviours = list(behaviours)
    await world.worker().processor.handle(world.broker.copy(copy, Source.REPLAY))
    await world.store.ping()  # the marks are written with it
