"""What a run was measured on: figures mean nothing without it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from time import perf_counter

_PACKAGES = (
    *("payment-worker", "aio-pika", "aiormq", "pamqp", "aiohttp", "asyncpg", "pydantic"),
    *("structlog", "uvloop", "orjson", "faststream", "taskiq", "taskiq-aio-pika"),
)
_MEBIBYTES = 1024
_APPENDS = 200


def describe_machine(directory: Path) -> Mapping[str, object]:
    """Processors, memory, versions, and what a durable write costs in this directory."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "processors": os.cpu_count(),
        "memory_mib": _memory(Path("/proc/meminfo").read_text(encoding="ascii")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "debian_packages": _debian("rabbitmq-server", "erlang-base", "postgresql"),
        "durable_write_microseconds": round(durable_write(directory) * 1e6),
    }


def durable_write(directory: Path) -> float:
    """Seconds to append 400 bytes and have them on the disk: median of two hundred."""
    with NamedTemporaryFile(dir=directory) as file:
        seconds = []
        for _ in range(_APPENDS):
            began = perf_counter()
            os.write(file.fileno(), b"x" * 400)
            os.fdatasync(file.fileno())
            seconds.append(perf_counter() - began)
    return median(seconds)


def _processor(text: str) -> str:
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if "model name" in name), "unknown")


def _memory(text: str) -> int:
    return int(text.split()[1]) // _MEBIBYTES


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _debian(*names: str) -> Mapping[str, str]:
    """Versions of the distribution's packages; nothing where it has no dpkg."""
    try:
        told = subprocess.run(  # noqa: S603 - names made here
            ["/usr/bin/dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except OSError:
        return {}
    lines = (line.split() for line in told.splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1}
