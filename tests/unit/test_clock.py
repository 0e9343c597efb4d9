"""The system clock keeps what the port promises, and the fake keeps it without waiting."""

import asyncio
from datetime import timedelta

import pytest

from tests.fakes_clock import START, FakeClock
from worker.adapters.clock import SystemClock
from worker.ports import Clock


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_wall_time_is_aware_utc(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)


async def test_monotonic_time_passes_during_a_sleep(clock: Clock) -> None:
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() > before


async def test_a_sleep_of_nothing_gives_the_loop_a_turn(clock: Clock) -> None:
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    task = asyncio.create_task(other())
    await clock.sleep(0)
    assert ran == ["other"]
    await task


def test_fractions_are_in_the_half_open_unit_interval(clock: Clock) -> None:
    assert all(0 <= clock.fraction() < 1 for _ in range(1000))


def test_ids_are_version_4_and_never_repeat(clock: Clock) -> None:
    ids = [clock.new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {made.version for made in ids} == {4}


def test_nonces_are_128_bits_in_hex_and_never_repeat(clock: Clock) -> None:
    nonces = [clock.nonce() for _ in range(100)]
    assert len(set(nonces)) == 100
    assert all(len(nonce) == 32 and int(nonce, 16) >= 0 for nonce in nonces)


async def test_the_fake_records_every_wish_and_moves_both_clocks() -> None:
    clock = FakeClock()
    await clock.sleep(5)
    await clock.sleep(0.25)
    assert clock.sleeps == [5, 0.25]
    assert clock.monotonic() == 5.25
    assert clock.now() == START + timedelta(seconds=5.25)


def test_the_fake_moves_the_wall_alone_when_a_time_server_would() -> None:
    clock = FakeClock()
    clock.shift_wall(-60)
    assert clock.now() == START - timedelta(seconds=60)
    assert clock.monotonic() == 0


def test_the_fake_never_goes_back() -> None:
    with pytest.raises(ValueError, match="-1"):
        FakeClock().advance(-1)


def test_the_fake_repeats_its_last_fraction() -> None:
    clock = FakeClock(fractions=[0.1, 0.9])
    assert [clock.fraction() for _ in range(3)] == [0.1, 0.9, 0.9]
