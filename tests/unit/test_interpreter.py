"""How the interpreter is set up to serve a worker."""

import gc
import sys
from collections.abc import Iterator

import pytest

from worker.adapters.interpreter import SWITCH_SECONDS, YOUNG_OBJECTS, prepare_interpreter


@pytest.fixture(autouse=True)
def own_interpreter() -> Iterator[None]:
    """Whatever a test sets up is taken back: the interpreter is everybody's."""
    switch, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(switch)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_a_thread_gets_the_interpreter_promptly() -> None:
    prepare_interpreter()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)


def test_what_is_there_at_the_start_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    prepare_interpreter()
    assert gc.get_freeze_count() > before
    assert len(gc.get_objects()) < gc.get_freeze_count()


def test_garbage_in_circles_is_still_collected() -> None:
    """A collector that never ran would make a worker grow with every error it handles."""
    prepare_interpreter()
    assert gc.isenabled()
    before = gc.get_stats()[0]["collections"]
    for _ in range(2 * YOUNG_OBJECTS):
        circle: list[object] = []
        circle.append(circle)
    assert gc.get_stats()[0]["collections"] > before
