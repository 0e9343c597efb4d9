"""aioresponses on aiohttp 3.14: mocked replies need what that release added to its response.

aioresponses 0.7.9 builds a ``ClientResponse`` without ``stream_writer`` (its issue 289), which
raises a ``TypeError`` for every mocked reply. It also replaces the layer that redirects, repeats
and fires the trace signals, so a mocked failure always looks as if nothing had been sent: phases
are proved on real sockets, here only what is done with an answer.
"""

from types import SimpleNamespace
from typing import Any

import aiohttp


class MockedResponse(aiohttp.ClientResponse):
    """A reply that aioresponses can build; pass it as ``response_class``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        options.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*arguments, **options)
