"""The file that says the worker is alive: rewritten while the event loop ticks.

A supervisor that looks at the broker instead would turn an outage into a restart storm, and each
restart redelivers what was prefetched. The file tells the loop's last tick and nothing else a
restart could mend.
"""

import json
import os
from datetime import datetime
from pathlib import Path

INTERVAL = 5.0
"""Seconds between two beats."""

STALE_AFTER = 30.0
"""Seconds after which a missing beat means a stuck process."""


def beat(path: Path, at: datetime) -> None:
    """Write a beat atomically. Raises ``OSError``."""
    text = json.dumps({"at": at.isoformat()})
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def last_beat(path: Path) -> datetime | None:
    """Time of the last beat; ``None`` when there is none or it cannot be read."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return datetime.fromisoformat(read["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(path: Path) -> None:
    """Take the file away at an orderly end, so that nobody believes it."""
    path.unlink(missing_ok=True)
