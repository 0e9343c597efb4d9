"""Connections to the broker: opened with a clear reason when that fails, closed quietly."""

import asyncio
import contextlib
import errno
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import cast

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from typing_extensions import override

from worker.adapters.sockets import GatheringTransport
from worker.ports import BrokerDirectory
from worker.rules import CLOSING_SECONDS, BrokerAddress

CALL_SECONDS = 10.0
"""Limit of one question to the broker."""


@unique
class TroubleKind(StrEnum):
    """Why there is no usable connection."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    CERTIFICATE = "certificate"
    LOST = "lost"
    MISSING = "missing"


class BrokerTroubleError(Exception):
    """The broker cannot be used now; ``reason`` is one line without any credential."""

    def __init__(self, kind: TroubleKind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    @property
    def needs_person(self) -> bool:
        """Whether it lasts until somebody mends it: a login, a certificate, a missing queue."""
        return self.kind not in {TroubleKind.UNREACHABLE, TroubleKind.LOST}

    @override
    def __str__(self) -> str:
        return self.reason


OnTrouble = Callable[[BrokerTroubleError, float], None]
"""Told each trouble and the seconds until the next try: one log line, no traceback."""

CLIENT_ERRORS = (
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    OSError,
    TimeoutError,
)
"""What the client raises when a connection or channel cannot do what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Exponential backoff with jitter, in seconds.

    A session that lasted ``stable`` seconds starts the count again. The jitter takes up to half
    of each delay away, so that the workers of a restarted broker do not come back in step.
    """

    first: float = 0.5
    most: float = 30.0
    stable: float = 30.0

    def delay(self, failures: int, fraction: float) -> float:
        """Seconds to wait after that many failures in a row, the first being number 0."""
        full = min(self.most, self.first * 2.0 ** min(failures, 30))
        return full * (1.0 - fraction / 2)


async def connect(
    address: BrokerAddress, *, role: str, seconds: float = 10.0
) -> AbstractConnection:
    """Open a connection to the first endpoint of an address; one try only.

    It is named ``<connection name>:<role>``. Raises ``BrokerTroubleError``.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _opened(address, role)
    except (*CLIENT_ERRORS, ssl.SSLError) as error:
        raise _trouble(address, error) from None  # the client's texts may hold the address's user
    except asyncio.CancelledError:
        if is_own_cancellation():
            raise
        reason = f"connection to {address.place} lost while it was opened"
        raise BrokerTroubleError(TroubleKind.LOST, reason) from None


async def _opened(address: BrokerAddress, role: str) -> AbstractConnection:
    # Closed where opening fails: aio-pika's finaliser would otherwise do it in a task of its own,
    # which nobody awaits and which cannot be made once the event loop has ended.
    connection = aio_pika.Connection(
        aio_pika.connection.make_url(
            host=address.host,
            port=address.port,
            login=address.user,
            password=address.password.reveal(),
            virtualhost=address.virtual_host,
            ssl=address.tls,
            heartbeat=address.heartbeat,
        ),
        ssl_context=_tls_context(address) if address.tls else None,
        client_properties={"connection_name": f"{address.connection_name}:{role}"},
    )
    connection.kwargs["transport_factory"] = GatheringTransport()
    try:
        await connection.connect()
    except BaseException:
        await close_quietly(connection)
        raise
    return connection


async def connect_to_any(
    broker: BrokerDirectory, *, role: str, seconds: float = 10.0
) -> AbstractConnection:
    """Open a connection to the first endpoint that takes it, each tried once and in order.

    ``seconds`` limits each try. Raises ``BrokerTroubleError``, which names every trouble.
    """
    troubles: list[BrokerTroubleError] = []
    for address in broker.addresses():
        try:
            return await connect(address, role=role, seconds=seconds)
        except BrokerTroubleError as trouble:
            troubles.append(trouble)
    # An endpoint that answered and refused says more than one that is away.
    told = [each for each in troubles if each.kind is not TroubleKind.UNREACHABLE] or troubles
    raise BrokerTroubleError(told[0].kind, "; ".join(each.reason for each in troubles))


@contextlib.asynccontextmanager
async def connected(
    broker: BrokerDirectory, *, role: str, seconds: float = 10.0
) -> AsyncIterator[AbstractConnection]:
    """Open a connection for a short piece of work, as ``connect_to_any`` does."""
    connection = await connect_to_any(broker, role=role, seconds=seconds)
    try:
        yield connection
    finally:
        await close_quietly(connection)


async def open_channel(
    connection: AbstractConnection, *, publisher_confirms: bool = False
) -> Channel:
    """Open a plain channel, of the client's lower layer: it hands over what the broker sent.

    With ``publisher_confirms`` an unroutable message raises, as a refused one does.

    Raises ``BrokerTroubleError`` when the connection is gone.
    """
    if connection.transport is None:
        raise BrokerTroubleError(TroubleKind.LOST, "the connection ended")
    try:
        channel = await connection.transport.connection.channel(
            publisher_confirms=publisher_confirms, on_return_raises=True, timeout=CALL_SECONDS
        )
    except RuntimeError as error:
        # So the client answers a channel asked of a connection that has just closed.
        raise BrokerTroubleError(TroubleKind.LOST, "the connection ended") from error
    return cast("Channel", channel)  # the only kind there is


def server_version(connection: AbstractConnection) -> str:
    """The version the broker told when it greeted us; empty where it told none."""
    if connection.transport is None:
        return ""
    version = connection.transport.connection.server_properties.get("version", "")
    return version.decode(errors="replace") if isinstance(version, bytes) else str(version)


def is_own_cancellation() -> bool:
    """Whether a ``CancelledError`` is ours.

    The client raises one as well when a connection dies under a waiting call (measured).
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def close_quietly(connection: AbstractConnection) -> None:
    """Close a connection that may be dead already; what it held is redelivered."""
    with contextlib.suppress(*CLIENT_ERRORS):
        async with asyncio.timeout(CLOSING_SECONDS):
            await connection.close()


def broker_text(error: BaseException) -> str:
    """The broker's own words of an error, on one line; they name objects, never credentials."""
    words = " ".join(" ".join(str(part) for part in error.args if part is not None).split())
    return words or type(error).__name__


def system_text(error: BaseException) -> str:
    """Why a connection failed in the system's own words, without its number and the address.

    The loop's are ``[Errno 111] Connect call failed ('127.0.0.1', 5672)``, a resolver's number is
    negative, and the broker's reply codes are numbers of another kind.
    """
    match error.args:
        case (int() as number, str() as words, *_) if number in errno.errorcode or number < 0:
            return words if number < 0 else os.strerror(number)
        case _:
            return broker_text(error)


def _tls_context(address: BrokerAddress) -> ssl.SSLContext:
    """Verify the broker's certificate and name, always: there is no setting to switch it off."""
    for file in (address.ca_file, address.certificate_file, address.key_file):
        if file is not None and not Path(file).is_file():  # OpenSSL does not say which one
            raise BrokerTroubleError(TroubleKind.CERTIFICATE, f"no such file: {file}")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=address.ca_file)
    if address.certificate_file:
        context.load_cert_chain(address.certificate_file, address.key_file)
    return context


def _trouble(address: BrokerAddress, error: BaseException) -> BrokerTroubleError:
    place = address.place
    match error:
        case (
            aiormq.exceptions.ProbableAuthenticationError()
            | aiormq.exceptions.AuthenticationError()
        ):
            reason = f"{place} refuses this user or its password (ACCESS_REFUSED)"
            return BrokerTroubleError(TroubleKind.REFUSED, reason)
        case aiormq.exceptions.InvalidFrameError() if "Connection.OpenOk" in str(error):
            # The broker closed where it should have opened the virtual host (530 NOT_ALLOWED);
            # the client keeps the code to itself.
            reason = (
                f"{place} refuses the virtual host {address.virtual_host!r}: "
                "it does not exist, is down, or this user has no right to it"
            )
            return BrokerTroubleError(TroubleKind.REFUSED, reason)
        case TimeoutError():
            reason = f"{place} does not answer"
        case _ if (certificate := _certificate_error(error)) is not None:
            reason = f"{place}: {certificate}"
            return BrokerTroubleError(TroubleKind.CERTIFICATE, reason)
        case _:
            reason = f"{place} cannot be reached: {system_text(error)}"
    return BrokerTroubleError(TroubleKind.UNREACHABLE, reason)


def _certificate_error(error: BaseException) -> str | None:
    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {getattr(cause, 'verify_message', '') or cause.reason}"
    return None
