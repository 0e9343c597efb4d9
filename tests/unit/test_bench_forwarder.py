"""The broker's limit passes frames on as they come, wherever a read of the socket ends."""

from itertools import pairwise

import pytest
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from typing_extensions import override

from tests.bench.peers.forwarder import Forwarder
from tests.bench.peers.line import CHANNEL
from tests.bench.peers.place import Place

PLACE = Place(
    amqp_url="amqp://guest:guest@127.0.0.1/payments",
    work_queue="work",
    requests_exchange="requests",
    results_exchange="results",
    letter_queue="dlq",
    provider_url="",
    prefetch=10,
)
BODY = b'{"amount": "1250"}'


class Written(Forwarder):
    """Keeps what it would send."""

    def __init__(self) -> None:
        super().__init__(PLACE)
        self.sent = b""

    @override
    def write(self, data: bytes) -> None:
        self.sent += data

    @property
    def names(self) -> list[str]:
        """Every frame that was sent."""
        found, at = [], 0
        while at < len(self.sent):
            size, _, each = frame.unmarshal(self.sent[at:])
            found.append(each.name)
            at += size
        return found


def delivered(tag: int) -> list[bytes]:
    """The three frames of a delivery."""
    told = commands.Basic.Deliver("consumer", tag, redelivered=False, exchange="", routing_key="k")
    header = ContentHeader(body_size=len(BODY))
    return [frame.marshal(each, CHANNEL) for each in (told, header, ContentBody(BODY))]


STREAM = b"".join(
    piece
    for tag in (1, 2)
    for piece in (*delivered(tag), frame.marshal(commands.Basic.Ack(tag), CHANNEL))
)
MESSAGE = ["Basic.Publish", "ContentHeader", "ContentBody"]


@pytest.mark.parametrize("end", range(len(STREAM) + 1))
def test_no_frame_comes_between_those_of_one_message(end: int) -> None:
    """The broker closes the connection of who sends one there (505)."""
    forwarder = Written()
    left = STREAM[:end][forwarder.receive(STREAM[:end], 0) :]
    forwarder.receive(left + STREAM[end:], 0)
    names = forwarder.names
    assert [name for name in names if name != "Basic.Ack"] == 2 * MESSAGE
    follows = dict(pairwise(MESSAGE))
    assert all(after == follows.get(before, after) for before, after in pairwise(names))
    assert names[-1] == "Basic.Ack"
