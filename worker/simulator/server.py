"""Both provider APIs on one HTTP server, for the demo and for tests.

Nothing about a call is logged but its operation, its magic name and what became of it: the
query of a basket call holds the customer's e-mail.
"""

from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web

from worker.model import Operation, Secret
from worker.ports import Clock
from worker.simulator.acting import applies, perform
from worker.simulator.basket import BasketApi
from worker.simulator.book import Applied, Book, RepeatReference
from worker.simulator.chance import DEFAULT_FAULTS, Chance
from worker.simulator.effects import Act, Flaky, OnRemoval, Reject, Single, Succeed
from worker.simulator.link import LinkApi
from worker.simulator.magic import MAGIC, magic_name
from worker.simulator.orders import Order, Refused
from worker.simulator.paypage import PAGE, PATH, Links
from worker.simulator.signature import SignatureCheck

UNKNOWN_NAME = "SIM_UNKNOWN_NAME"
"""The provider code of the answer to a magic name that does not exist: a typo must be seen."""

BODY_LIMIT = 256 * 1024
"""Bytes of a request body; more is HTTP 413."""


class Log(Protocol):
    """Takes one event with its facts; structlog's bound methods fit."""

    def __call__(self, event: str, /, **facts: str | bool | int) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the simulated providers accept: Basic for the link, a signature for the basket."""

    login: str = "demo"
    password: Secret = field(default_factory=lambda: Secret("demo"))
    orig: str = "demo.example"
    secret: Secret = field(default_factory=lambda: Secret("demo"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Faults without magic: by rate (0 to 1, reproducible by seed), and what is not documented.

    ``latency`` in seconds is added to every valid call.
    """

    fault_rate: float = 0.0
    faults: tuple[str, ...] = DEFAULT_FAULTS
    seed: int = 0
    latency: float = 0.0
    repeat_reference: RepeatReference = RepeatReference.LINK


class Simulator:
    """A server for both providers; ``start`` returns its base address.

    ``link_host`` is the host of the links it hands out, to be listed in the worker's settings.
    Raises ``ValueError`` for a fault rate outside 0 to 1 and for an unknown fault name.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Clock,
        credentials: Credentials | None = None,
        knobs: Knobs | None = None,
        link_host: str = "pay.simulator.example",
        log: Log | None = None,
    ) -> None:
        credentials = credentials or Credentials()
        knobs = knobs or Knobs()
        self._host = host
        self._port = port
        self._clock = clock
        self._latency = knobs.latency
        self._log = log
        self._chance = Chance(knobs.fault_rate, knobs.faults, knobs.seed)
        self._is_faultless = False
        self._book = Book()
        links = Links(link_host, clock)
        self._link = LinkApi(
            login=credentials.login,
            password=credentials.password,
            book=self._book,
            links=links,
            repeat=knobs.repeat_reference,
        )
        self._basket = BasketApi(
            check=SignatureCheck(credentials.orig, credentials.secret),
            book=self._book,
            links=links,
        )
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,  # it would write e-mails and signatures
            handler_cancellation=True,  # a withheld answer ends when its client leaves
            shutdown_timeout=0.1,
        )

    @property
    def base_url(self) -> str:
        """Where it listens once started; the basket provider's ``base_url``."""
        return f"http://{self._host}:{self._port}"

    @property
    def link_base_url(self) -> str:
        """The link provider's ``base_url``, its prefix included; any prefix is served."""
        return f"{self.base_url}/ssp"

    @property
    def applied(self) -> Applied:
        """What was really done, counted by the provider itself."""
        return self._book.applied

    @property
    def book(self) -> Book:
        """The state of both providers, for who must know what was made and not only how much."""
        return self._book

    def stop_faults(self) -> None:
        """From now on every valid call succeeds, whatever its magic name and by whatever chance."""
        self._is_faultless = True

    async def start(self) -> str:
        """Listen and return ``base_url``; raises ``OSError`` when the port is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        return self.base_url

    async def stop(self) -> None:
        """Close the port; answers still withheld end as broken connections."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_post("/api/lingo/add-basket-item", self._add_item)
        application.router.add_post("/api/lingo/remove-basket-item", self._remove_item)
        application.router.add_post("/{prefix:.+}/get_link_payment", self._get_link)
        application.router.add_get("/{prefix:.+}/search_payment", self._search)
        application.router.add_get(PATH, self._show_page)
        application.router.add_get("/simulator/applied", self._show_applied)
        return application

    async def _get_link(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        today = self._clock.now().date()
        read = self._link.read(request.headers.get("Authorization"), body, today)
        return await self._serve(request, Operation.GET_LINK_PAYMENT, read)

    async def _search(self, request: web.Request) -> web.StreamResponse:
        found = self._link.search(request.headers.get("Authorization"), request.query)
        if self._log is not None:
            self._log("simulator.searched", act=type(found).__name__.lower())
        if isinstance(found, Refused):
            return web.json_response(found.body, status=found.status, headers=dict(found.headers))
        if self._latency or found.after:
            await self._clock.sleep(self._latency + found.after)
        return web.json_response(found.body)

    async def _add_item(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        read = self._basket.read_add(_raw_query(request), body, self._clock.now())
        return await self._serve(request, Operation.ADD_BASKET_ITEM, read)

    async def _remove_item(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        read = self._basket.read_remove(_raw_query(request), body, self._clock.now())
        return await self._serve(request, Operation.REMOVE_BASKET_ITEM, read)

    async def _serve(
        self, request: web.Request, operation: Operation, read: Order | Refused
    ) -> web.StreamResponse:
        if isinstance(read, Refused):
            return self._refuse(operation, read)
        if self._latency:
            await self._clock.sleep(self._latency)
        obstacle = read.obstacle()
        if obstacle is not None:
            return self._refuse(operation, obstacle)
        name, act = self._choose(read)
        is_applied = applies(act)
        applied = read.apply() if is_applied else ""
        self._tell(operation, name, type(act).__name__.lower(), applied=is_applied)
        return await perform(request, act, read, applied, self._clock)

    def _choose(self, order: Order) -> tuple[str, Act]:
        """Magic first, then chance; a removal heeds the magic that names removals only."""
        if self._is_faultless:
            return "", Succeed()
        name = magic_name(order.email)
        if name is None:
            name = self._chance.draw()
            if name is None:
                return "", Succeed()
        elif name not in MAGIC:
            return "", Reject(UNKNOWN_NAME)
        effect = MAGIC[name].effect
        is_removal = order.operation is Operation.REMOVE_BASKET_ITEM
        if isinstance(effect, OnRemoval):
            return name, self._count(name, effect.effect, order) if is_removal else Succeed()
        if is_removal and magic_name(order.email) is not None:
            return name, Succeed()
        return name, self._count(name, effect, order)

    def _count(self, name: str, effect: Single, order: Order) -> Act:
        if not isinstance(effect, Flaky):
            return effect
        fails = self._book.fails_again((name, *order.intent), effect.times)
        return effect.failure if fails else Succeed()

    def _refuse(self, operation: Operation, refused: Refused) -> web.Response:
        self._tell(operation, "", "refused", applied=False)
        return web.json_response(refused.body, status=refused.status, headers=dict(refused.headers))

    def _tell(self, operation: Operation, name: str, act: str, *, applied: bool) -> None:
        if self._log is not None:
            self._log("simulator.called", operation=operation, magic=name, act=act, applied=applied)

    async def _show_page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _show_applied(self, _request: web.Request) -> web.Response:
        applied = self.applied
        return web.json_response({**asdict(applied), "total": applied.total})


def _raw_query(request: web.Request) -> str:
    """The query as its bytes came: the signature covers these and no reading of them."""
    return request.raw_path.partition("?")[2]
