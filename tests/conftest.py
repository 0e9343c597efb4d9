"""For every test: a limit on waiting; one private broker and one database server per run."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping

import pytest

from tests.broker import Broker, private_broker
from tests.postgres import PostgresServer, private_server

_TEST_SECONDS = 60.0


def _limited(
    test: Callable[..., Awaitable[None]], seconds: float
) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(*args: object, **arguments: object) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **arguments)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put every asynchronous test under a limit: a hang is a failure with a name.

    A fixture cannot do it, because it runs in a task of its own. The mark ``time_limit`` gives a
    test that must be long another limit.
    """
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            mark = item.get_closest_marker("time_limit")
            item.obj = _limited(item.obj, _TEST_SECONDS if mark is None else mark.args[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the tests' own event loop; a worker process has a setting for its own."""
    parser.addoption(
        "--loop",
        choices=("asyncio", "uvloop"),
        default="asyncio",
        help="event loop of the tests themselves; a worker process takes uvloop",
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every asynchronous test the loop that was asked for."""
    if config.getoption("--loop") == "uvloop":
        import uvloop  # noqa: PLC0415 - an optional extra of the product

        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One private RabbitMQ node; tests keep apart by the prefixes of ``Broker.topology``."""
    with private_broker() as node:
        yield node


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One private PostgreSQL server; tests keep apart by databases of their own."""
    with private_server() as server:
        yield server
