"""Which event loop a worker runs on: the fast one where it is installed, unless told otherwise."""

import asyncio
import sys

import pytest

from worker.adapters import event_loop as module
from worker.adapters.event_loop import event_loop

PYTHON = ".".join(map(str, sys.version_info[:3]))


def test_the_standard_loop_is_taken_when_it_is_asked_for() -> None:
    chosen = event_loop("asyncio")
    assert chosen.name == f"asyncio {PYTHON}"
    assert chosen.make is asyncio.new_event_loop


def test_without_the_extra_the_standard_loop_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    assert event_loop("auto").name == f"asyncio {PYTHON}"


def test_with_the_extra_uvloop_is_taken() -> None:
    uvloop = pytest.importorskip("uvloop")
    chosen = event_loop("auto")
    assert chosen.name == f"uvloop {uvloop.__version__}"
    with asyncio.Runner(loop_factory=chosen.make) as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop)
