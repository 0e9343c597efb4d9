"""Which event loop runs the worker: uvloop where its extra is installed, else asyncio's own."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

LoopChoice = Literal["auto", "asyncio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLoop:
    """An event loop: its name and version for people, and how one is made."""

    name: str
    make: Callable[[], asyncio.AbstractEventLoop]


def event_loop(choice: LoopChoice) -> EventLoop:
    """Find the loop that the settings ask for."""
    if choice == "auto" and find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - an optional extra: payment-worker[uvloop]

        return EventLoop(name=f"uvloop {version('uvloop')}", make=uvloop.new_event_loop)
    python = ".".join(map(str, sys.version_info[:3]))
    return EventLoop(name=f"asyncio {python}", make=asyncio.new_event_loop)
