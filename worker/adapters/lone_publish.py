"""One message on a connection of its own, where the broker's refusal belongs to it alone.

Over a shared channel a refusal closes the channel under every message in flight, and nobody can
tell whose fault it was. Here the broker's words are about this message.
"""

import asyncio

import aio_pika
import aiormq.exceptions

from worker.adapters.connection import (
    CLIENT_ERRORS,
    BrokerTroubleError,
    broker_text,
    connected,
    is_own_cancellation,
)
from worker.adapters.lane import Lane
from worker.messages import OutgoingMessage, Publication
from worker.model import Fault
from worker.ports import BrokerDirectory
from worker.topology import Topology


async def publish_alone(
    broker: BrokerDirectory, topology: Topology, message: OutgoingMessage, *, seconds: float = 10.0
) -> Publication | Fault:
    """Publish once, confirmed, and say what the broker said.

    A fault is a refusal that this message will always meet: ``not_permitted`` (403),
    ``exchange_missing`` (404) or ``not_acceptable`` (406). No connection, or silence for
    ``seconds``, is ``UNKNOWN``.
    """
    try:
        async with asyncio.timeout(seconds), connected(broker, role="publisher") as connection:
            lane = await Lane.open(connection, topology)
            await lane.publish(message)
    except aio_pika.exceptions.PublishError:  # before DeliveryError: it is a subclass
        return Publication.UNROUTABLE
    except aio_pika.exceptions.DeliveryError:
        return Publication.REFUSED
    except aiormq.exceptions.ChannelAccessRefused as error:
        return Fault("routing_key", "not_permitted", broker_text(error))
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        return Fault("exchange", "exchange_missing", broker_text(error))
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        return Fault("message", "not_acceptable", broker_text(error))
    except asyncio.CancelledError:
        if is_own_cancellation():
            raise
        return Publication.UNKNOWN  # the connection died under the publish
    except (BrokerTroubleError, *CLIENT_ERRORS):
        return Publication.UNKNOWN
    return Publication.CONFIRMED
