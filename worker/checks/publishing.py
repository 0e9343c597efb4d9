"""AMQP007 and 008: what the worker publishes is confirmed, and comes back when nobody wants it.

Both are read from messages that nobody is bound for: a confirm proves the permission, the return
proves that no answer can vanish, and nothing stays on the broker.
"""

from collections.abc import Sequence
from typing import assert_never

from worker.checks.broker import CONNECTED
from worker.checks.broker_view import Fate
from worker.checks.check import Check
from worker.checks.deployment import Deployment
from worker.checks.routes import origin_remarks
from worker.checks.verdicts import Blame, CannotSeeError, Group, Remark, fail, ok, skip
from worker.messages import Exchange, Publication
from worker.model import Fault
from worker.topology.roles import REPLAYER

_EXCHANGES = (Exchange.RESULTS, Exchange.RETRY, Exchange.DEAD_LETTER)
_WORKERS_LOGIN = "Look once more under the worker's own login, with its secrets."
_RIGHTS = "Give the worker's user the permissions of deploy/rabbitmq/definitions.json."


def return_remark(exchange: str, fate: Fate) -> Remark:
    """Whether an event without a subscriber comes back, so that it is kept and alerted: pure."""
    match fate:
        case Publication.UNROUTABLE:
            return ok("an event nobody is bound for comes back", about=exchange)
        case Publication.CONFIRMED:
            cause = (
                "a catch-all binding or an alternate exchange took an event nobody is bound for;"
                " its queue now holds one message of type check"
            )
            return fail(cause, about=exchange)
        case Publication.REFUSED | Publication.UNKNOWN | Fault():
            return skip("no event could be published: see AMQP008", about=exchange)
        case other:
            assert_never(other)


def publish_remark(exchange: str, fate: Fate) -> Remark:
    """Whether the worker may publish there and hears what became of it: pure."""
    match fate:
        case Publication.UNROUTABLE:
            return ok("may publish; confirm and return work", about=exchange)
        case Publication.CONFIRMED:
            return ok("may publish; confirms work, the message did not come back", about=exchange)
        case Publication.REFUSED:
            cause = "the broker refuses the message (nack): a queue behind it is full"
            return fail(cause, about=exchange, fix="Look at the queues bound to it.")
        case Publication.UNKNOWN:
            cause = "no confirm: the broker blocks publishers (memory or disk alarm) or went away"
            fix = "Look for alarms with `rabbitmq-diagnostics alarms`."
            return fail(cause, about=exchange, fix=fix, blame=Blame.UNREACHABLE)
        case Fault(code="exchange_missing"):
            return skip("it does not exist: see AMQP002", about=exchange)
        case Fault(message=words):
            return fail(words, about=exchange)
        case other:
            assert_never(other)


async def _look_at_returns(deployment: Deployment) -> Sequence[Remark]:
    broker = deployment.broker
    fate = await broker.unroutable(Exchange.RESULTS)
    returned = return_remark(broker.topology.exchange(Exchange.RESULTS), fate)
    try:
        picture = await deployment.picture()
    except CannotSeeError as reason:
        return [returned, skip(reason.reason, about="Binding of each origin", fix=reason.fix)]
    return [returned, *origin_remarks(picture, broker.topology)]


async def _look_at_publishing(deployment: Deployment) -> Sequence[Remark]:
    broker = deployment.broker
    if deployment.settings.broker.user == REPLAYER:
        # It has none of the worker's rights, and should not have them.
        return [skip("this is the operators' login", about=REPLAYER, fix=_WORKERS_LOGIN)]
    return [
        publish_remark(broker.topology.exchange(each), await broker.unroutable(each))
        for each in _EXCHANGES
    ]


CHECKS = (
    Check(
        id="AMQP007",
        group=Group.BROKER,
        title="Every answer has a queue, and none is swallowed",
        fix="Take away the catch-all binding or the alternate exchange of the results exchange.",
        look=_look_at_returns,
        needs=CONNECTED,
        seconds=15.0,
    ),
    Check(
        id="AMQP008",
        group=Group.BROKER,
        title="The worker may publish; confirms and returns work",
        fix=_RIGHTS,
        look=_look_at_publishing,
        needs=CONNECTED,
        seconds=30.0,
    ),
)
