"""What can happen to a connection, how it is done and how it ends (rabbitmq section 15)."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiormq.exceptions

from tests.amqp import channel_to
from tests.faults.connection_site import ROLES, USER, Ground, with_secrets
from tests.waiting import until
from worker.adapters.clock import SystemClock

Act = Callable[[Ground], Awaitable[None]]
Strike = Callable[[Ground], Awaitable[datetime]]
"""Breaks something and says when that was: a command takes a second to start and to return."""

_CONSUMER = b":consumer"
_PUBLISHER = b":publisher"

_clock = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One fault: ``roles`` are the connections that must notice it, as a ``trouble`` if given.

    ``mend`` runs once they have. ``pages`` is how many lines at level error it is worth.
    """

    name: str
    strike: Strike
    roles: tuple[str, ...] = ROLES
    trouble: str | None = None
    mend: Act | None = None
    pages: int = 0


async def _swallow_consumer(ground: Ground) -> datetime:
    assert ground.proxy.swallow(_CONSUMER) == 1
    return _clock.now()


async def _swallow_publisher(ground: Ground) -> datetime:
    assert ground.proxy.swallow(_PUBLISHER) == 1
    return _clock.now()


async def _swallow_everything(ground: Ground) -> datetime:
    ground.proxy.go_dark()
    return _clock.now()


async def _light_up(ground: Ground) -> None:
    ground.proxy.light_up()


async def _freeze(ground: Ground) -> datetime:
    ground.broker.signal(signal.SIGSTOP)
    return _clock.now()


async def _freeze_briefly(ground: Ground) -> datetime:
    struck = await _freeze(ground)
    await _clock.sleep(ground.conditions.pause)
    await _thaw(ground)
    return struck


async def _thaw(ground: Ground) -> None:
    ground.broker.signal(signal.SIGCONT)


async def _kill(ground: Ground) -> datetime:
    ground.broker.signal(signal.SIGKILL)
    return _clock.now()


async def _start(ground: Ground) -> None:
    await asyncio.to_thread(ground.broker.start)


async def _close_connections(ground: Ground) -> datetime:
    return await _evaluated(
        ground,
        '[rabbit_networking:close_connection(Connection, <<"maintenance">>) '
        "|| Connection <- rabbit_networking:connections()]",
    )


async def _cancel_consumer(ground: Ground) -> datetime:
    """Let the channel's writer send ``basic.cancel``, as where a failover ends a consumer.

    The queue stays. Nothing else does that to a quorum queue's consumer on RabbitMQ 3.10, which
    consumes again by itself while it can.
    """
    queue = ground.installation.named("work")
    return await _evaluated(
        ground,
        "{ok, Queue} = rabbit_amqqueue:lookup("
        f'rabbit_misc:r(<<"payments">>, queue, <<"{queue}">>)), '
        "[begin {dictionary, Words} = process_info(element(1, Consumer), dictionary), "
        "[Above | _] = proplists:get_value('$ancestors', Words), "
        "{writer, Writer, _, _} = lists:keyfind(writer, 1, supervisor2:which_children(Above)), "
        "rabbit_writer:send_command(Writer, {'basic.cancel', element(2, Consumer), true}) end "
        "|| Consumer <- rabbit_amqqueue:consumers(Queue)]",
    )


async def _delete_queue(ground: Ground) -> datetime:
    async with channel_to(ground.broker) as channel:
        struck = _clock.now()
        await channel.queue_delete(ground.installation.named("work"))
        return struck


async def _create_queue(ground: Ground) -> None:
    """An administrator creates it again, after the worker has met its absence several times.

    What was in it is gone with it, so producers send again what was not answered.
    """
    missing = "broker.disconnected"
    await until(
        lambda: len(ground.worker.told(missing, trouble="missing")) >= 2,
        ground.conditions.patience,
    )
    assert not await _exists(ground, "work")
    status, text = await ground.worker.asks("/readyz")
    assert (status, "no consumer registered" in text) == (503, True)
    assert (await ground.worker.asks("/healthz"))[0] == 200
    applied = await ground.installation.run(
        "topology", "apply", prelude=with_secrets(ground.installation)
    )
    assert applied.code == 0, applied.complaint
    await ground.traffic.desk.left("unrouted")  # copies of what is sent again
    ground.traffic.send_again()


async def _rotate(ground: Ground) -> datetime:
    """Change it on the broker and end the worker's connections; its file stays as it is."""
    return await _evaluated(
        ground,
        f'rabbit_auth_backend_internal:change_password(<<"{USER}">>, <<"second">>, <<"test">>), '
        f'rabbit_networking:close_all_user_connections(<<"{USER}">>, <<"rotated">>)',
    )


async def _hand_over(ground: Ground) -> None:
    ground.write_password("second")


async def _evaluated(ground: Ground, expressions: str) -> datetime:
    """Let the broker evaluate something, and say when it did."""
    told = await ground.broker.evaluate(
        f"Moment = os:system_time(millisecond), {expressions}, Moment."
    )
    return datetime.fromtimestamp(int(told) / 1000, UTC)


async def _exists(ground: Ground, suffix: str) -> bool:
    async with channel_to(ground.broker) as channel:
        try:
            await channel.declare_queue(ground.installation.named(suffix), passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False
        return True


HALF_OPEN_CONSUMER = Scene(
    name="half-open consuming connection",
    strike=_swallow_consumer,
    roles=("consume",),
)
HALF_OPEN_PUBLISHER = Scene(
    name="half-open publishing connection",
    strike=_swallow_publisher,
    roles=("publish",),
)
SILENT = Scene(name="network silent both ways", strike=_swallow_everything, mend=_light_up)
FROZEN_BRIEFLY = Scene(name="broker frozen for a moment", strike=_freeze_briefly, roles=())
FROZEN = Scene(name="broker frozen, then thawed", strike=_freeze, mend=_thaw)
KILLED = Scene(name="broker killed, then started", strike=_kill, mend=_start)
CLOSED = Scene(name="all connections closed", strike=_close_connections)
CANCELLED = Scene(
    name="consumer cancelled by the broker",
    strike=_cancel_consumer,
    roles=("consume",),
)
DELETED = Scene(
    name="work queue deleted, then created",
    strike=_delete_queue,
    roles=("consume",),
    trouble="missing",
    mend=_create_queue,
    pages=1,
)
ROTATED = Scene(
    name="password changed, then handed over",
    strike=_rotate,
    trouble="refused",
    mend=_hand_over,
    pages=2,
)

SCENES = (
    HALF_OPEN_CONSUMER,
    HALF_OPEN_PUBLISHER,
    SILENT,
    FROZEN_BRIEFLY,
    FROZEN,
    KILLED,
    CLOSED,
    CANCELLED,
    DELETED,
    ROTATED,
)
"""In the order of the report."""
