"""Whose turn it is among several endpoints, and how long is waited between the rounds."""

from dataclasses import dataclass

import pytest

from tests.fakes_clock import FakeClock
from worker.adapters.connection import BrokerTroubleError, Pace, TroubleKind
from worker.adapters.endpoints import Turns
from worker.rules import BrokerAddress

PACE = Pace(first=1.0, most=8.0, stable=30.0)
LOST = BrokerTroubleError(TroubleKind.LOST, "it ended")
AWAY = BrokerTroubleError(TroubleKind.UNREACHABLE, "nobody there")


def three() -> BrokerAddress:
    return BrokerAddress(host="a", others=(("b", 5672), ("c", 5673)))


def turns_of(broker: BrokerAddress, clock: FakeClock) -> Turns:
    return Turns(broker, clock=clock, pace=PACE)


def test_a_round_goes_through_all_endpoints_without_a_pause_and_then_waits() -> None:
    """The waits double; the jitter is the clock's."""
    turns = turns_of(three(), FakeClock(fractions=[0.0]))
    seen = [(turns.take().host, turns.pass_on(AWAY)) for _ in range(7)]
    assert [host for host, _ in seen] == ["a", "b", "c", "a", "b", "c", "a"]
    assert [delay for _, delay in seen] == [0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0]


def test_a_single_endpoint_waits_after_every_failure() -> None:
    turns = turns_of(BrokerAddress(), FakeClock(fractions=[0.0]))
    assert [(turns.take().port, turns.pass_on(LOST)) for _ in range(3)] == [
        (5672, 1.0),
        (5672, 2.0),
        (5672, 4.0),
    ]


@pytest.mark.parametrize(
    ("fraction", "host"), [(0.0, "a"), (0.34, "b"), (0.67, "c"), (0.999999, "c")]
)
def test_workers_begin_with_different_endpoints(fraction: float, host: str) -> None:
    assert turns_of(three(), FakeClock(fractions=[fraction])).take().host == host


@pytest.mark.parametrize("kind", [TroubleKind.REFUSED, TroubleKind.MISSING])
def test_a_trouble_that_all_endpoints_share_waits_before_the_next_one(kind: TroubleKind) -> None:
    """A wrong password tried three times in a row would look like an attack, and help nobody."""
    turns = turns_of(three(), FakeClock(fractions=[0.0]))
    trouble = BrokerTroubleError(kind, "no")
    seen = [(turns.take().host, turns.pass_on(trouble)) for _ in range(3)]
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 4.0)]


def test_a_session_that_lasted_begins_the_count_anew() -> None:
    clock = FakeClock(fractions=[0.0])
    turns = turns_of(three(), clock)
    for _ in range(5):
        turns.take()
        turns.pass_on(AWAY)
    assert turns.take().host == "c"
    clock.advance(PACE.stable)
    assert turns.pass_on(LOST) == 0.0
    delays = []
    for _ in range(2):
        turns.take()
        delays.append(turns.pass_on(AWAY))
    assert delays == [0.0, 1.0]


@dataclass
class Growing:
    """A directory that changes between two questions."""

    address: BrokerAddress

    def addresses(self) -> tuple[BrokerAddress, ...]:
        return self.address.addresses()


def test_the_directory_is_asked_again_for_every_connection() -> None:
    directory = Growing(BrokerAddress(user="old"))
    turns = Turns(directory, clock=FakeClock(), pace=PACE)
    assert turns.take().user == "old"
    turns.pass_on(LOST)
    directory.address = BrokerAddress(user="new")
    assert turns.take().user == "new"


def test_every_endpoint_carries_the_same_login_and_files() -> None:
    address = BrokerAddress(
        host="a", user="u", tls=True, ca_file="/ca", others=(("b", 1), ("c", 2))
    )
    assert [each.place for each in address.addresses()] == ["a:5672", "b:1", "c:2"]
    assert {(each.user, each.tls, each.ca_file, each.others) for each in address.addresses()} == {
        ("u", True, "/ca", ())
    }
