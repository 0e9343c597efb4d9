"""``payment-worker watch``: follow result events live, without taking them from anybody."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import typer

from worker.adapters.connection import BrokerTroubleError, TroubleKind, connected
from worker.adapters.live_events import live_events
from worker.cli.broker import run_with_broker
from worker.cli.client import client_of
from worker.cli.completions import origins
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.event_line import event_line
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.output import Output
from worker.identity import normalise_origin
from worker.messages import Exchange
from worker.model import Delivery, Origin
from worker.rules import BrokerAddress, Subscriber
from worker.settings import SettingsError
from worker.topology import Topology

_EXAMPLE = "Example: payment-worker watch dcp --count 1 --for 60"

_NAMES = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME...",
        help="Subscribers of the settings, or origins; none: all origins of the settings.",
        show_default=False,
        autocompletion=origins,
    ),
]
_COUNT = Annotated[
    int | None, typer.Option("--count", help="End after so many events.", min=1, show_default=False)
]
_SECONDS = Annotated[
    float | None,
    typer.Option("--for", help="End after so many seconds.", min=0.0, show_default=False),
]
_SHOW_LINKS = Annotated[
    bool, typer.Option("--show-links", help="Print links: whoever has one can pay with it.")
]


def register(app: typer.Typer) -> None:
    """Add the ``watch`` command."""
    app.command("watch", epilog=_EXAMPLE)(_watch)


def _watch(
    typer_context: typer.Context,
    names: _NAMES = None,
    count: _COUNT = None,
    seconds: _SECONDS = None,
    show_links: _SHOW_LINKS = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Print every result event of these origins as it is published, from now on.

    Copies only: subscribers get theirs all the same. For test and support. Links are masked.
    With --count and --for, exit 0 means that all came in time, 3 some, 1 none.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    origins = _origins(context, names or [])
    address, topology = client_of(context, "consume")
    follower = _Follower(context.output, origins, topology, shows_links=show_links, count=count)
    run_with_broker(_follow(context, address, topology, follower, seconds))
    return follower.verdict


def _origins(context: CommandContext, names: Sequence[str]) -> tuple[Origin, ...]:
    """Resolve subscribers to their origins; a name that is no subscriber is an origin."""
    by_name = {subscriber.name: subscriber.origins for subscriber in _subscribers(context)}
    if any(letter in name for name in names for letter in "*#"):
        raise CommandError(
            "usage",
            "Origins are named one by one.",
            exit_code=ExitCode.USAGE,
            fix="A wildcard would hide that an event has no subscriber at all.",
        )
    chosen = names or list(by_name)
    found = [origin for name in chosen for origin in by_name.get(name, (normalise_origin(name),))]
    if not found:
        raise CommandError(
            "usage",
            "No origin to follow: the settings name no subscriber, or are not complete.",
            exit_code=ExitCode.USAGE,
            fix="Name origins, as in payment-worker watch dcp web; or see config check.",
        )
    return tuple(dict.fromkeys(found))


def _subscribers(context: CommandContext) -> tuple[Subscriber, ...]:
    """Subscribers of the settings; none on a machine that has only the broker's, checked later."""
    try:
        return context.loaded().settings.subscribers()
    except SettingsError:
        context.output.say("No complete settings here, so every name is an origin.")
        return ()


class _Follower:
    """Tells what happens while events are followed, and when it has seen enough."""

    def __init__(
        self,
        output: Output,
        origins: Sequence[Origin],
        topology: Topology,
        *,
        shows_links: bool,
        count: int | None,
    ) -> None:
        self._output = output
        self._names = ", ".join(origins)
        self._exchange = topology.exchange(Exchange.RESULTS)
        self._shows_links = shows_links
        self._count = count
        self._seen = 0
        self._was_ready = False
        self.keys = [f"payment.result.{origin}.*" for origin in origins]

    @property
    def verdict(self) -> ExitCode:
        """How the command ends: whether all the events asked for came."""
        if self._count is None or self._seen >= self._count:
            return ExitCode.OK
        return ExitCode.PARTIAL if self._seen else ExitCode.FAILED

    def ready(self) -> None:
        """Say from when on nothing is missed."""
        if self._was_ready:
            self._output.say("Connected again; what was published meanwhile is not shown.")
            return
        self._was_ready = True
        self._output.say(f"Following {self._names}; Ctrl-C ends.")
        self._output.warn(
            "While this runs, an event without a subscriber counts as delivered and is not "
            "kept as unclaimed: for test and support."
        )

    def trouble(self, trouble: BrokerTroubleError, delay: float) -> None:
        """Say that the connection is lost, or end with what cannot heal by itself."""
        match trouble.kind:
            case TroubleKind.REFUSED:
                raise CommandError(
                    "watch_refused",
                    f"The broker refuses a temporary queue: {trouble}.",
                    field="broker.user",
                    exit_code=ExitCode.CONFIGURATION,
                    fix=rf"Watch as a user with configure and write on ^amq\.gen-.*$ and "
                    rf"read on that and on {self._exchange}.",
                ) from trouble
            case TroubleKind.MISSING if not self._was_ready:
                raise CommandError(
                    "exchange_missing",
                    f"There is nothing to follow: {trouble}.",
                    field="broker.prefix",
                    exit_code=ExitCode.CONFIGURATION,
                    fix="See `payment-worker topology verify`.",
                ) from trouble
            case _:
                self._output.warn(f"{trouble}; trying again in {delay:.1f} s.")

    async def show(self, events: AsyncIterator[Delivery]) -> None:
        """Print events until there were enough."""
        async for delivery in events:
            line = event_line(delivery, shows_links=self._shows_links)
            record = line.document if self._output.is_json else line.row
            self._output.record(record, line.sentence)
            self._seen += 1
            if self._seen == self._count:
                return


async def _follow(
    context: CommandContext,
    address: BrokerAddress,
    topology: Topology,
    follower: _Follower,
    seconds: float | None,
) -> None:
    # One try with a clear reason; only a connection that was there once is worth coming back to.
    async with connected(address, role="watch"):
        pass
    following = live_events(
        address,
        follower.keys,
        topology=topology,
        clock=context.clock,
        on_ready=follower.ready,
        on_trouble=follower.trouble,
    )
    limit = asyncio.timeout(seconds)
    try:
        async with limit, following as events:
            await follower.show(events)
    except TimeoutError:
        if not limit.expired():
            raise
    except BrokenPipeError:
        # Whoever read us has left. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
