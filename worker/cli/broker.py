"""Talking to the broker from a command: errors that a person understands."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from worker.adapters.connection import CLIENT_ERRORS, BrokerTroubleError, broker_text
from worker.adapters.topology import TopologyRefusedError
from worker.cli.exit_codes import CommandError, ExitCode

Result = TypeVar("Result")

_FIX = "Check the broker.* settings with `payment-worker config explain broker`."


def run_with_broker(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's asynchronous part; raises ``CommandError`` for what the broker refuses."""
    quieten_client()
    try:
        return asyncio.run(work)
    except BrokerTroubleError as trouble:
        raise _unreachable(trouble.reason) from trouble
    except TopologyRefusedError as refused:
        raise CommandError(
            "topology_refused",
            f"The broker refuses: {refused}.",
            exit_code=ExitCode.CONFIGURATION,
            field=refused.name,
            fix="See `payment-worker topology verify`.",
        ) from refused
    except CLIENT_ERRORS as error:
        raise _unreachable(broker_text(error)) from error


def quieten_client() -> None:
    """Keep the client library's own lines from between ours: every trouble is told by us.

    Without a handler Python prints them (``logging.lastResort``).
    """
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).addHandler(logging.NullHandler())


def _unreachable(reason: str) -> CommandError:
    if "ACCESS_REFUSED - access to" in reason:
        return CommandError(
            "broker_right_missing",
            f"This user may not do that: {reason}.",
            exit_code=ExitCode.CONFIGURATION,
            field="broker.user",
            fix="Operators have a user of their own, ops-replay in the shipped definitions:"
            " set PAYMENT_WORKER_BROKER__USER and its password.",
        )
    return CommandError(
        "broker_unreachable",
        f"The broker cannot be used: {reason}.",
        exit_code=ExitCode.UNREACHABLE,
        field="broker",
        fix=_FIX,
    )
