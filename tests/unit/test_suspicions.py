"""Headers no honest producer sends are named on a first receipt, and on nothing of our own."""

import pytest

from tests.builders import make_delivery
from worker.contract.suspicions import suspicions_of
from worker.messages import Suspicion
from worker.model import Source


@pytest.mark.parametrize(
    ("name", "suspicion"),
    [
        ("CC", Suspicion.COPY_HEADER),
        ("BCC", Suspicion.COPY_HEADER),
        ("identity", Suspicion.OWN_HEADER),
        ("error-code", Suspicion.OWN_HEADER),
        ("replayed-by", Suspicion.OWN_HEADER),
        ("x-death", Suspicion.DEATH_HEADER),
        ("x-first-death-queue", Suspicion.DEATH_HEADER),
        ("x-last-death-reason", Suspicion.DEATH_HEADER),
    ],
)
@pytest.mark.parametrize("source", Source)
def test_such_a_header_is_named_unless_the_exchange_proves_the_copy_is_ours(
    name: str, suspicion: Suspicion, source: Source
) -> None:
    found = suspicions_of(make_delivery(headers={name: "anything"}, source=source))
    assert found == (() if source.is_believed else (suspicion,))


@pytest.mark.parametrize(
    "name",
    ["idempotency-key", "not-after", "traceparent", "x-delivery-count", "x-acquired-count", "mine"],
)
def test_what_a_producer_or_the_broker_may_write_is_not_suspicious(name: str) -> None:
    assert suspicions_of(make_delivery(headers={name: "1"})) == ()


def test_every_reason_is_named_once() -> None:
    headers: dict[str, str | int] = {"CC": "a", "BCC": "b", "sequence": 1, "x-death": "d"}
    assert suspicions_of(make_delivery(headers=headers)) == tuple(Suspicion)
