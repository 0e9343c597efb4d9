"""The parts of a running worker, put together, and what stops them from consuming."""

from worker import __version__
from worker.adapters.connection import OnTrouble
from worker.adapters.consumer import AmqpConsumer
from worker.adapters.http import HttpTransport
from worker.adapters.publisher import AmqpPublisher
from worker.announcer import Announcer
from worker.app.ledger_start import LedgerStart, OpenedLedger
from worker.app.maintaining import Maintaining
from worker.app.reconciling import Reconciling
from worker.app.sweeping import Sweeping
from worker.caller import Caller
from worker.confirms import Confirms
from worker.ledger_watch import LedgerWatch
from worker.messages import Handled
from worker.model import Delivery
from worker.permits import AccountPermits
from worker.ports import BrokerDirectory, Clock
from worker.processor import Processor
from worker.providers import PROVIDERS
from worker.provisioning import topology_of
from worker.replies import Replies
from worker.settings import Settings
from worker.standstill import Standstill
from worker.switchboard import Switchboard
from worker.telemetry import Telemetry

LEDGER = "ledger"
CONFIRMS = "no confirms"
ACCOUNTS = "every account is down"
OPERATORS = "operators"


class Assembly:
    """Everything between the broker and the providers, on a ledger that is open.

    Consumption stops while the ledger is away, while the broker confirms nothing and while every
    account is down; each tells so once and goes on by itself. ``publisher`` is the connection
    that publishes, ``broker`` where to consume from.
    """

    def __init__(
        self,
        settings: Settings,
        opened: OpenedLedger,
        *,
        ledger_start: LedgerStart,
        publisher: AmqpPublisher,
        transport: HttpTransport,
        broker: BrokerDirectory,
        on_trouble: OnTrouble,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._rules = settings.rules()
        self._book = settings.route_book()
        self._opened = opened
        self._ledger_start = ledger_start
        self._telemetry = telemetry
        self._clock = clock
        # Whoever compares a time with one of the ledger's goes by the ledger's clock.
        self._shared_clock = opened.store.clock
        self.watch = LedgerWatch(
            opened.ledger.ping,
            clock=clock,
            on_away=self._ledger_away,
            on_back=self._ledger_back,
        )
        self.confirms = Confirms(
            publisher,
            clock=clock,
            seconds=self._rules.publish_seconds,
            on_silence=self._confirms_away,
            on_back=self._confirms_back,
        )
        self.permits = self._permits()
        self.standstill = Standstill(
            self.permits,
            clock=clock,
            pause=lambda: self.consumer.pause(ACCOUNTS),
            resume=lambda: self.consumer.resume(ACCOUNTS),
            on_down=lambda: telemetry.warned("Every account is down", "accounts.down"),
            on_back=lambda: telemetry.noted("An account answers again", "accounts.back"),
        )
        self.switchboard = Switchboard(
            ledger=opened.ledger,
            permits=self.permits,
            worker=clock.new_id(),
            stop=lambda: self.consumer.pause(OPERATORS, gives_back=True),
            go=lambda: self.consumer.resume(OPERATORS),
            on_paused=telemetry.paused,
            on_surprise=lambda error: telemetry.warned(
                "The switches could not be obeyed", "switches.surprise", error
            ),
        )
        announcer = Announcer(
            publisher=self.confirms, source=f"/payment-worker/{settings.deployment}"
        )
        self._processor = self._processor_of(announcer, transport)
        self.sweeping = Sweeping(
            ledger=opened.ledger,
            announcer=announcer,
            watch=self.watch,
            telemetry=telemetry,
            clock=clock,
        )
        self.maintaining = Maintaining(
            ledger=opened.ledger,
            retention=opened.store.retention,
            periods=settings.retention.periods(),
            every=settings.retention.every,
            watch=self.watch,
            telemetry=telemetry,
            clock=clock,
        )
        self.reconciling = Reconciling(
            ledger=opened.ledger,
            book=self._book,
            permits=self.permits,
            transport=transport,
            watch=self.watch,
            telemetry=telemetry,
            clock=clock,
        )
        self.consumer = AmqpConsumer(
            broker,
            topology_of(settings),
            self._handle,
            telemetry.handled,
            until_usable=self._until_usable,
            clock=self._shared_clock,
            on_trouble=on_trouble,
            prefetch=settings.broker.prefetch,
            concurrency=settings.broker.concurrency,
        )

    def _permits(self) -> AccountPermits:
        permits = AccountPermits(
            {name: account.limits for name, account in self._book.accounts.items()},
            clock=self._clock,
            notify=self._telemetry.breaker_changed,
            hindered=self._telemetry.hindered,
            patience=self._rules.patience_seconds,
        )
        self._telemetry.watch_accounts(permits)
        return permits

    def _processor_of(self, announcer: Announcer, transport: HttpTransport) -> Processor:
        ledger = self._opened.ledger
        return Processor(
            ledger=ledger,
            book=self._book,
            permits=self.permits,
            caller=Caller(
                ledger=ledger,
                providers=PROVIDERS,
                transport=transport,
                clock=self._shared_clock,
                signing=self._clock,
                rules=self._rules,
                on_surprise=lambda error: self._telemetry.warned(
                    "A call failed in a way nobody foresaw", "call.surprise", error
                ),
                on_contradiction=self._telemetry.contradicted,
            ),
            replies=Replies(
                announcer=announcer,
                publisher=self.confirms,
                ledger=ledger,
                clock=self._shared_clock,
                rules=self._rules,
                worker_version=__version__,
            ),
            clock=self._shared_clock,
            rules=self._rules,
        )

    async def _handle(self, delivery: Delivery) -> Handled:
        self._telemetry.taken()
        started = self._clock.monotonic()
        try:
            return await self._processor.handle(delivery)
        except Exception as error:
            self._telemetry.given_up(error, self._clock.monotonic() - started)
            raise

    async def _until_usable(self) -> None:
        await self.watch.until_usable()
        await self.confirms.until_usable()

    def _ledger_away(self, reason: str) -> None:
        self.consumer.pause(LEDGER)
        self._ledger_start.tell_away(reason)

    def _ledger_back(self) -> None:
        self.consumer.resume(LEDGER)
        self._ledger_start.tell_back()

    def _confirms_away(self, reason: str) -> None:
        self.consumer.pause(CONFIRMS)
        self._telemetry.warned("The broker confirms nothing", "confirms.away", reason=reason)

    def _confirms_back(self) -> None:
        self.consumer.resume(CONFIRMS)
        self._telemetry.noted("The broker confirms again", "confirms.back")
