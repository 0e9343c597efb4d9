"""An operator's place at the broker for the length of a command: its queues and a publisher."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.adapters.connection import connected
from worker.adapters.letters import AmqpLetterQueue
from worker.adapters.publisher import AmqpPublisher
from worker.cli.context import CommandContext
from worker.operator_ports import LetterQueue
from worker.ports import Publisher
from worker.provisioning import topology_of


@dataclass(frozen=True, slots=True)
class Desk:
    """The queues an operator may walk, and the publisher that puts letters where they belong."""

    dead_letters: LetterQueue
    parking: LetterQueue
    unclaimed: LetterQueue
    publisher: Publisher


@asynccontextmanager
async def opened_desk(context: CommandContext) -> AsyncIterator[Desk]:
    """Connect as the user the settings name; raises what the client raises."""
    settings, clock = context.loaded().settings, context.clock
    topology, address = topology_of(settings), settings.broker_address("operate")
    async with (
        connected(address, role="dead-letters") as connection,
        AmqpPublisher(
            address, topology, clock=clock, on_trouble=lambda _trouble, _delay: None
        ) as publisher,
    ):
        dead, parking, unclaimed = [
            await AmqpLetterQueue.open(connection, name, topology=topology, clock=clock)
            for name in (
                topology.dead_letter_queue,
                topology.parking_queue,
                topology.unclaimed_queue,
            )
        ]
        yield Desk(dead_letters=dead, parking=parking, unclaimed=unclaimed, publisher=publisher)
