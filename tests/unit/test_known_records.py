"""A remembered record is given out for the very row it was written as, and for no other."""

from dataclasses import replace

from hypothesis import given

from tests import store_samples as some
from tests.store_samples import EMAIL, sample_record
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_rows.known import MOST_KNOWN, KnownRecords
from worker.adapters.store_rows.records import RECORD_COLUMNS, record_row
from worker.records import Record, State

VAULT = Vault([generate_key()])


def test_an_unchanged_row_of_a_payment_being_called_is_not_read_again() -> None:
    known = KnownRecords(VAULT)
    record = replace(sample_record(), email=EMAIL)
    row = record_row(record, VAULT)
    known.wrote(row, record)
    assert known.read(row) is record


@given(written=some.records, found=some.records)
def test_what_somebody_else_has_written_counts(written: Record, found: Record) -> None:
    """Another process, a rollback, a backup: the row that is there is the one that is read."""
    known = KnownRecords(VAULT)
    found = replace(found, operation_id=written.operation_id)
    known.wrote(record_row(written, VAULT), written)
    assert known.read(record_row(found, VAULT)) == found


def test_every_column_counts() -> None:
    known = KnownRecords(VAULT)
    record = sample_record()
    row = record_row(record, VAULT)
    known.wrote(row, record)
    place = RECORD_COLUMNS.index("reopened_by")
    assert known.read((*row[:place], "R-1", *row[place + 1 :])).reopened_by == "R-1"


def test_a_payment_that_is_no_longer_called_is_forgotten() -> None:
    known = KnownRecords(VAULT)
    record = sample_record()
    row = record_row(record, VAULT)
    known.wrote(row, record)
    waiting = replace(record, state=State.RETRY_WAIT, version=2)
    known.wrote(record_row(waiting, VAULT), waiting)
    again = known.read(row)
    assert again == record
    assert again is not record


def test_only_so_many_are_remembered_and_the_oldest_goes_first() -> None:
    known = KnownRecords(VAULT)
    records = [sample_record(number) for number in range(MOST_KNOWN + 1)]
    rows = [record_row(record, VAULT) for record in records]
    for row, record in zip(rows, records, strict=True):
        known.wrote(row, record)
    assert known.read(rows[0]) is not records[0]
    assert known.read(rows[1]) is records[1]
    assert known.read(rows[-1]) is records[-1]
