"""One site for each module of acceptance tests, on the module's own event loop."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.shared_site import Change, Site, as_it_is, site_of
from tests.broker import Broker


@pytest.fixture(scope="module")
def change() -> Change:
    """How the settings of the module's site differ; a module may say so by its own fixture."""
    return as_it_is


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory, change: Change
) -> AsyncIterator[Site]:
    """A worker that takes payments, shared by the tests of one module."""
    async with site_of(broker, tmp_path_factory.mktemp("site"), change) as running:
        yield running
