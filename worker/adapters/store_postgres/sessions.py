"""Connections to the server, each set up the same way and proved to be what it must be.

The driver has no say in limits of time: its way of giving up is to ask the server to cancel, and a
commit that waits for a standby answers a cancellation with "done". A session that takes too long
is cut instead, and what became of its transaction is asked on a new one.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from worker.adapters.store_errors import LedgerUnreachableError, LedgerUnusableError
from worker.adapters.store_postgres.faults import DRIVER_ERRORS, translated
from worker.rules import PostgresAddress

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_OLDEST_SERVER = 13  # gen_random_uuid()
SCHEMA = "payment_worker"
"""The PostgreSQL schema that a ledger fills; nothing else is put into it."""

# The limits nest: a frozen worker's transaction ends before those who wait for its locks give up,
# and they before they are cut. No statement_timeout: it would also cut a commit's wait for a
# standby short, which then reports success (see the module's text).
_SETTINGS = {
    "search_path": f"{SCHEMA}, pg_temp",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "7s",
    "statement_timeout": "0",
    "default_transaction_isolation": "read committed",
    "client_min_messages": "warning",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
# For a session that looks rows up by their keys and does nothing else. Statements are planned once
# and kept; one planned while the tables are small would go on reading them from end to end until
# the server has counted them anew (measured with 12 000 rows: 5 times the time of the look-up).
BY_KEY = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_SET = (
    "SELECT set_config(name, value, false)"
    " FROM unnest($1::text[], $2::text[]) AS given (name, value)"
)
# Waiting for the standby to apply it is more than "on" asks for, and is left to the administrator.
_SET_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') <> 'remote_apply'"
)


def place_of(address: PostgresAddress) -> str:
    """The address as a text for people: no user, no password."""
    if is_socket(address):
        return f"postgresql:///{address.database}?host={address.host}&port={address.port}"
    return f"postgresql://{address.host}:{address.port}/{address.database}"


def is_socket(address: PostgresAddress) -> bool:
    """Whether the host is the directory of a Unix socket."""
    return address.host.startswith("/")


async def connect(
    address: PostgresAddress, settings: Mapping[str, str] = MappingProxyType({})
) -> Connection:
    """Open a connection with our settings, and more of them; raises ``LedgerError``."""
    place = place_of(address)
    with translated(place):
        connection: Connection = await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            # Never None: the driver would look into the environment and the home directory.
            password="" if address.password is None else address.password.reveal(),
            database=address.database,
            ssl=_tls_context(address) if address.tls and not is_socket(address) else False,
            timeout=CONNECT_SECONDS,
            target_session_attrs=SessionAttribute.any,
            server_settings={"application_name": address.application_name},
        )
        try:
            await _set_up(place, connection, {**_SETTINGS, **settings})
        except BaseException:
            connection.terminate()
            raise
        return connection


async def _set_up(place: str, connection: Connection, settings: Mapping[str, str]) -> None:
    found = connection.get_server_version().major
    if found < _OLDEST_SERVER:
        raise LedgerUnusableError(place, f"PostgreSQL {found} is older than {_OLDEST_SERVER}")
    with cut_after(connection, CONNECT_SECONDS):
        await connection.execute(_SET, list(settings), list(settings.values()))
        await connection.execute(_SET_DURABLE)


@contextmanager
def cut_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut the connection where what is inside has not ended by then; it then raises."""
    cut = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        cut.cancel()


class Session:
    """One connection, made when it is first needed and anew after it was lost or dropped."""

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]]) -> None:
        """``open_connection`` raises ``LedgerError``."""
        self._open = open_connection
        self._connection: Connection | None = None

    async def connection(self) -> Connection:
        """The connection as it stands, or a new one; raises ``LedgerError``."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._open()
        return self._connection

    def drop(self) -> None:
        """Cut the connection: the server undoes what it left unfinished."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Part from the server in good manners, or cut the line after two seconds."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (*DRIVER_ERRORS, OSError):
            connection.terminate()


def _tls_context(address: PostgresAddress) -> ssl.SSLContext:
    """Verify the server's certificate and name, always: there is no setting to switch it off."""
    for file in (address.ca_file, address.certificate_file, address.key_file):
        if file is not None and not Path(file).is_file():  # OpenSSL does not say which one
            raise LedgerUnreachableError(place_of(address), f"no such file: {file}")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=address.ca_file)
    if address.certificate_file:
        context.load_cert_chain(address.certificate_file, address.key_file)
    return context
