"""Which databases are ledgers: made, renewed, recognised and refused."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.postgres import PostgresServer, private_server
from tests.servers import refused_port, silent_port
from tests.store_child import KEY
from tests.store_samples import LINK, number, sample_record, write
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_errors import (
    LedgerError,
    LedgerKeyMissingError,
    LedgerLockedError,
    LedgerMissingError,
    LedgerOutdatedError,
    LedgerReadOnlyError,
    LedgerRefusedError,
    LedgerTooNewError,
    LedgerUnreachableError,
    LedgerUnrecognisedError,
    LedgerUnsafeError,
)
from worker.adapters.store_migrations import Initialisation, Migration
from worker.adapters.store_postgres import PostgresStore, initialise, schema, sessions
from worker.adapters.store_postgres.schema import migrations
from worker.model import Secret
from worker.rules import PostgresAddress

NEWEST = migrations()[-1].version


@pytest.fixture
def address(postgres: PostgresServer) -> Iterator[PostgresAddress]:
    with postgres.database() as database:
        yield database


async def open_store(address: PostgresAddress, *keys: Secret) -> PostgresStore:
    return await PostgresStore.open(address, vault=Vault(keys or (KEY,)), clock=SystemClock())


async def refusal(address: PostgresAddress, *keys: Secret) -> LedgerError:
    with pytest.raises(LedgerError) as caught:
        await open_store(address, *keys)
    return caught.value


# --- making and renewing -----------------------------------------------------------------------


async def test_a_ledger_is_made_once_and_left_alone_after(address: PostgresAddress) -> None:
    assert await initialise(address) == Initialisation(before=None, after=NEWEST)
    store = await open_store(address)
    await write(store, sample_record())
    assert await initialise(address) == Initialisation(before=NEWEST, after=NEWEST)
    assert await store.find(number(1)) == (sample_record(), None)
    await store.close()


async def test_commands_started_together_make_one_ledger(address: PostgresAddress) -> None:
    done = await asyncio.gather(*(initialise(address) for _ in range(5)))
    created, *met = sorted(each.before or 0 for each in done)
    assert created == 0
    # A step is a transaction of its own, so some may have met a ledger half made.
    assert all(1 <= version <= NEWEST for version in met)
    assert {each.after for each in done} == {NEWEST}
    await (await open_store(address)).close()


async def test_an_empty_schema_of_the_name_is_filled(
    postgres: PostgresServer, address: PostgresAddress
) -> None:
    """An administrator may keep the right to create schemas to himself."""
    database = address.database
    postgres.psql(f"REVOKE CREATE ON DATABASE {database} FROM {address.user}", database=database)
    postgres.psql(f"CREATE SCHEMA payment_worker AUTHORIZATION {address.user}", database=database)
    assert isinstance(await refusal(address), LedgerMissingError)
    assert (await initialise(address)).before is None
    await (await open_store(address)).close()


async def test_a_step_that_fails_leaves_the_version_before(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    await initialise(address)
    half = "CREATE TABLE half (number bigint); CREATE TABLE half (number bigint);"
    steps = (*migrations(), Migration(NEWEST + 1, half))
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    with pytest.raises(LedgerError, match="half"):
        await initialise(address)
    whole = (*migrations()[:-1], Migration(NEWEST + 1, "CREATE TABLE half (number bigint);"))
    monkeypatch.setattr(schema, "migrations", lambda: whole)
    assert isinstance(await refusal(address), LedgerOutdatedError)
    assert await initialise(address) == Initialisation(before=NEWEST, after=NEWEST + 1)
    await (await open_store(address)).close()


async def test_a_command_waits_for_another_and_not_for_ever(
    postgres: PostgresServer, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sessions._SETTINGS, "lock_timeout", "200ms")  # noqa: SLF001 (seconds else)
    other = await sessions.connect(replace(postgres.administrator, database=address.database))
    async with other.transaction():
        lock = schema._INITIALISING  # noqa: SLF001 (the lock that another command holds)
        await other.execute("SELECT pg_advisory_xact_lock($1)", lock)
        with pytest.raises(LedgerLockedError):
            await initialise(address)
    await other.close()
    assert (await initialise(address)).before is None


# --- refusing ----------------------------------------------------------------------------------


async def test_a_database_without_a_ledger_is_refused(address: PostgresAddress) -> None:
    error = await refusal(address)
    assert isinstance(error, LedgerMissingError)
    place = f"postgresql://127.0.0.1:{address.port}/{address.database}"
    assert str(error) == f"there is no ledger at {place}"
    assert error.fix == (
        "correct the address; put a lost one back from its backup;"
        " create a first ledger with `payment-worker ledger init`"
    )


@pytest.mark.parametrize(
    "table",
    ["orders (id bigint)", "ledger (id bigint)", "ledger (application, version, ledger_id) AS"],
    ids=["no mark", "a mark of another shape", "another program's mark"],
)
async def test_another_programs_schema_is_refused_and_left_alone(
    postgres: PostgresServer, address: PostgresAddress, table: str
) -> None:
    foreign = f"CREATE TABLE payment_worker.{table}"
    if table.endswith("AS"):
        foreign += " SELECT 'accounting', 1, gen_random_uuid()"
    made = f"CREATE SCHEMA payment_worker AUTHORIZATION {address.user}"
    postgres.psql(f"{made}; SET ROLE {address.user}; {foreign}", database=address.database)
    assert isinstance(await refusal(address), LedgerUnrecognisedError)
    with pytest.raises(LedgerUnrecognisedError):
        await initialise(address)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'payment_worker'"
    assert postgres.psql(tables, database=address.database) == "1\n"


@pytest.mark.parametrize(
    ("version", "kind"),
    [(NEWEST - 1, LedgerOutdatedError), (NEWEST + 1, LedgerTooNewError)],
    ids=["older", "newer"],
)
async def test_another_schema_version_is_refused(
    postgres: PostgresServer, address: PostgresAddress, version: int, kind: type[LedgerError]
) -> None:
    await initialise(address)
    change = f"UPDATE payment_worker.ledger SET version = {version}"  # noqa: S608 (a number)
    postgres.psql(change, database=address.database)
    error = await refusal(address)
    assert isinstance(error, kind)
    assert f"schema version {version}" in str(error)


async def test_a_missing_encryption_key_is_named(address: PostgresAddress) -> None:
    await initialise(address)
    store = await open_store(address)
    await write(store, replace(sample_record(), link=LINK))
    await store.close()
    error = await refusal(address, generate_key())
    assert isinstance(error, LedgerKeyMissingError)
    assert error.key_ids == Vault([KEY]).key_ids
    await (await open_store(address, generate_key(), KEY)).close()


async def test_a_copy_that_cannot_be_written_is_refused(
    postgres: PostgresServer, address: PostgresAddress
) -> None:
    await initialise(address)
    database = address.database
    postgres.psql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    assert isinstance(await refusal(address), LedgerReadOnlyError)


async def test_asynchronous_commits_are_switched_on_again_for_our_sessions(
    postgres: PostgresServer, address: PostgresAddress
) -> None:
    await initialise(address)
    postgres.psql(f"ALTER DATABASE {address.database} SET synchronous_commit = off")
    await (await open_store(address)).close()
    connection = await sessions.connect(address)
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.close()


async def test_commits_that_nobody_can_make_synchronous_are_refused(
    postgres: PostgresServer, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pool that swallows the settings of a session."""
    await initialise(address)
    postgres.psql(f"ALTER DATABASE {address.database} SET synchronous_commit = off")
    monkeypatch.setattr(sessions, "_SET_DURABLE", "SELECT 1")
    error = await refusal(address)
    assert isinstance(error, LedgerUnsafeError)
    assert "synchronous_commit is off" in str(error)


async def test_a_wrong_password_role_or_database_is_refused_without_telling_it(
    address: PostgresAddress,
) -> None:
    planted = Secret("planted-wrong-password")
    for wrong in (
        replace(address, password=planted),
        replace(address, password=None),
        replace(address, user="somebody_else", password=planted),
        replace(address, database="elsewhere"),
    ):
        error = await refusal(wrong)
        assert isinstance(error, LedgerRefusedError)
        assert "planted" not in f"{error}{error.fix}{error!r}"


async def test_a_role_without_rights_is_refused(
    postgres: PostgresServer, address: PostgresAddress
) -> None:
    await initialise(address)
    postgres.psql("CREATE ROLE stranger LOGIN PASSWORD 'planted'")
    try:
        stranger = replace(address, user="stranger", password=Secret("planted"))
        assert isinstance(await refusal(stranger), LedgerRefusedError)
    finally:
        postgres.psql("DROP ROLE stranger")


async def test_a_server_that_is_not_there_is_unreachable(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused_port() as port:
        assert isinstance(await refusal(replace(address, port=port)), LedgerUnreachableError)
    monkeypatch.setattr(sessions, "CONNECT_SECONDS", 0.2)
    with silent_port() as port:
        error = await refusal(replace(address, port=port))
    assert isinstance(error, LedgerUnreachableError)
    assert "does not answer in time" in str(error)
    elsewhere = replace(address, host="ledger.invalid")
    assert isinstance(await refusal(elsewhere), LedgerUnreachableError)


# --- ways to the server ------------------------------------------------------------------------


async def test_a_socket_is_reached_by_its_directory(
    postgres: PostgresServer, address: PostgresAddress
) -> None:
    local = replace(postgres.administrator, database=address.database, tls=True)
    assert "planted" not in repr(local)
    await initialise(local)
    store = await open_store(local)
    await store.ping()
    await store.close()
    assert sessions.place_of(local).startswith(f"postgresql:///{address.database}?host=/")


async def test_nothing_is_taken_from_the_environment(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would read a password, or how to use TLS, from variables of its own."""
    assert address.password is not None
    monkeypatch.setenv("PGPASSWORD", address.password.reveal())
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    assert isinstance(await refusal(replace(address, password=None)), LedgerRefusedError)
    assert isinstance(await refusal(address), LedgerMissingError)


@pytest.fixture(scope="module")
def pliable() -> Iterator[PostgresServer]:
    """A server that may be started anew with other settings."""
    with private_server() as server:
        yield server


def restart_with_tls(server: PostgresServer, folder: Path) -> Path:
    """Let the server speak TLS; returns the certificate that vouches for it."""
    made = make_certificate(folder)
    data = server.directory / "data"
    for file in (made.certificate, made.key):
        copy = data / file.name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        os.chown(copy, data.stat().st_uid, data.stat().st_gid)
    server.stop()
    server.start(ssl="on", ssl_cert_file=made.certificate.name, ssl_key_file=made.key.name)
    return made.certificate


async def test_the_line_is_encrypted_and_the_server_known(
    pliable: PostgresServer, tmp_path: Path
) -> None:
    authority = restart_with_tls(pliable, tmp_path)
    address = replace(pliable.new_database(), tls=True)
    assert "TLS failed" in str(await refusal(address))
    known = replace(address, ca_file=str(authority))
    await initialise(known)
    store = await open_store(known)
    encrypted = await pliable.ask(
        known.database,
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        " WHERE usename = $1",
        known.user,
    )
    assert encrypted[0][0] is True
    await store.close()
    for wrong in (
        replace(known, ca_file=str(tmp_path / "none")),
        replace(known, host="localhost"),
    ):
        assert isinstance(await refusal(wrong), LedgerUnreachableError)


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(
    address: PostgresAddress,
) -> None:
    error = await refusal(replace(address, tls=True))
    assert isinstance(error, LedgerUnreachableError)


async def test_a_server_that_does_not_sync_is_refused(pliable: PostgresServer) -> None:
    address = pliable.new_database()
    await initialise(address)
    for setting in ("fsync", "full_page_writes"):
        pliable.stop()
        pliable.start(**{setting: "off"})
        error = await refusal(address)
        assert isinstance(error, LedgerUnsafeError)
        assert f"{setting} is off" in str(error)
