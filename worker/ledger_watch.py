"""Whether the ledger can be used: asked now and then, told once each time that changes."""

from collections.abc import Awaitable, Callable

from worker.ports import Clock, StoreUnavailableError

LOOK_SECONDS = 5.0
"""Between two looks at a ledger that can be used: the worker notices before its payments do."""

LOOK_AGAIN_SECONDS = 1.0
"""Between two looks at one that is away."""


class LedgerWatch:
    """Remembers what is wrong with the ledger, and tells when it goes and when it is back.

    ``ping`` raises ``StoreUnavailableError`` while the ledger cannot be used; ``on_away`` gets
    its text. Both are told once for each absence, however many deliveries meet it.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
        on_away: Callable[[str], None],
        on_back: Callable[[], None],
    ) -> None:
        self._ping = ping
        self._clock = clock
        self._on_away = on_away
        self._on_back = on_back
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why the ledger cannot be used; ``None`` while it can."""
        return self._trouble

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            is_usable = await self.look()
            await self._clock.sleep(LOOK_SECONDS if is_usable else LOOK_AGAIN_SECONDS)

    async def until_usable(self) -> None:
        """Return once the ledger can be used, however long that takes."""
        while not await self.look():
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    async def look(self) -> bool:
        """Whether the ledger can be used now."""
        try:
            await self._ping()
        except StoreUnavailableError as error:
            self.missed(error)
            return False
        except Exception as error:  # noqa: BLE001 - nobody would notice a watch that has ended
            self._miss(f"asking it failed: {type(error).__name__}")
            return False
        if self._trouble is not None:
            self._trouble = None
            self._on_back()
        return True

    def missed(self, error: StoreUnavailableError) -> None:
        """Somebody else met this; the next look finds out whether it lasts."""
        self._miss(str(error) or "it cannot be used")

    def _miss(self, reason: str) -> None:
        if self._trouble is None:
            self._trouble = reason
            self._on_away(reason)
