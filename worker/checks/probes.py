"""TEL001: the port for health and metrics is free or ours, and not public by accident."""

import asyncio
import contextlib
from collections.abc import Sequence
from ipaddress import ip_address

from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Group, Remark, fail, ok, skip, warn

_QUESTION = b"GET /healthz HTTP/1.0\r\n\r\n"
_SIGN = b'{"alive":'
_SECONDS = 3.0
_LARGEST = 4096


def is_public(host: str) -> bool:
    """Whether an address to listen on is every one of this machine, or one of the internet's."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_unspecified or address.is_global


async def _look(deployment: Deployment) -> Sequence[Remark]:
    probes = deployment.settings.probes
    if not probes.enabled:
        return [skip("probes.enabled is off", about="Port")]
    place = f"{probes.host}:{probes.port}"
    found = []
    trouble = await _binding_trouble(probes.host, probes.port)
    if trouble is None:
        found.append(ok("free to listen on", about=place))
    elif await _is_worker(probes.host, probes.port):
        found.append(ok("a worker listens there", about=place))
    else:
        found.append(fail(f"cannot be listened on: {trouble}", about=place))
    if is_public(probes.host):
        found.append(warn("metrics are open to whoever reaches this machine", about=place))
    return found


async def _binding_trouble(host: str, port: int) -> str | None:
    """Listen for a moment, as the worker would."""
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        return error.strerror or type(error).__name__
    server.close()
    await server.wait_closed()
    return None


async def _is_worker(host: str, port: int) -> bool:
    """Whether who listens there answers as a worker does."""
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_QUESTION)
                return _SIGN in await reader.read(_LARGEST)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except OSError:  # TimeoutError is one
        return False


CHECKS = (
    Check(
        id="TEL001",
        group=Group.PROBES,
        title="The port for health and metrics is free or ours, and not public",
        fix="Set probes.host and probes.port, or end what listens there.",
        look=_look,
        needs=SOUND_SETTINGS,
    ),
)
