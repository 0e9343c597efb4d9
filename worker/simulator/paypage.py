"""The payment links the simulator hands out, and the page one of them opens."""

from dataclasses import dataclass

from worker.ports import Clock
from worker.simulator.effects import Shape

PATH = "/paypage"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Simulated payment page</title>
<h1>Simulated payment page</h1>
<p>This page stands where a provider would ask for the payment. It is a simulation:
nothing is paid here and no money moves.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class Links:
    """Makes links such as ``https://<host>/paypage?SDESSID=<random>``."""

    host: str
    clock: Clock

    def make(self) -> str:
        """Return a new link that nobody can guess."""
        return f"https://{self.host}{PATH}?SDESSID={self.clock.nonce()}"


def reshaped(link: str, shape: Shape) -> str | None:
    """Spoil a link as the shape says; ``None`` where there is to be none."""
    match shape:
        case Shape.UNLISTED_HOST:
            return link.replace("https://", "https://unlisted.", 1)
        case Shape.HTTP_LINK:
            return link.replace("https://", "http://", 1)
        case Shape.LINK_WITH_USER:
            return link.replace("https://", "https://somebody@", 1)
        case Shape.NO_LINK:
            return None
        case _:
            return link
