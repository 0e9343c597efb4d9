"""A worker that freezes in the middle of a transaction: ``python -m tests.postgres_child``.

Reads one line of JSON, where the ledger is and with which password; says when it is about to stop.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace

from tests.fakes_clock import START
from tests.store_child import KEY, say
from tests.store_samples import number
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import PostgresStore, sessions
from worker.model import Secret
from worker.ports import View
from worker.records import AuditEntry, Change, Needs
from worker.rules import PostgresAddress


async def main() -> None:
    """Raise the record's version by one, and stop the first time that it has been read."""
    place = json.loads(sys.stdin.readline())
    address = PostgresAddress(
        **{name: value for name, value in place.items() if name != "password"},
        password=Secret(place["password"]),
    )
    sessions._SETTINGS["idle_in_transaction_session_timeout"] = "1s"  # noqa: SLF001 (not five)
    store = await PostgresStore.open(address, vault=Vault([KEY]), clock=SystemClock())
    seen: list[int] = []

    def apply(view: View) -> Change[None]:
        record = view.record(number(1))
        assert record is not None
        seen.append(record.version)
        if len(seen) == 1:
            say("frozen")
            os.kill(os.getpid(), signal.SIGSTOP)
        trace = AuditEntry(
            at=START, actor="test", action="step", operation_id=number(1), detail="frozen"
        )
        risen = replace(record, version=record.version + 1)
        return Change(result=None, records=(risen,), audit=(trace,))

    await store.transact(Needs((number(1),)), apply)
    await store.close()
    say(seen)


if __name__ == "__main__":
    asyncio.run(main())
