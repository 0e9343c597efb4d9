"""How a batch begins on PostgreSQL: one text, of our own numbers only."""

from worker.adapters.store_postgres.statements import beginning


def test_locks_are_taken_in_ascending_order_before_the_number_is_noted() -> None:
    """Else two workers could wait for each other in a circle."""
    transaction, locks, number = beginning({7, -3, 12}, writer=4, batch=9).split(";")
    assert transaction.startswith("BEGIN ISOLATION LEVEL READ COMMITTED")
    assert "unnest('{-3,7,12}'::bigint[])" in locks
    assert "SET batch = 9" in number
    assert number.endswith("WHERE writer = 4 AND batch < 9")


def test_a_batch_that_looks_at_nothing_locks_nothing() -> None:
    assert "unnest('{}'::bigint[])" in beginning((), writer=1, batch=1)
