"""How the payments of a large ledger are spread over the months before now."""

from datetime import UTC, datetime

from tests.bench.ledger_growth.filling import moment_of
from tests.bench.ledger_growth.stories import SPAN

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_ten_million_payments_are_spread_over_the_whole_time() -> None:
    """The product of time and place was once more than a timedelta holds."""
    count = 10_000_000
    assert moment_of(0, count, NOW) == NOW - SPAN
    assert moment_of(count // 2, count, NOW) == NOW - SPAN / 2
    assert moment_of(count, count, NOW) == NOW
