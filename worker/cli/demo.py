"""``payment-worker demo``: everything at once on this machine, from request to replay."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from worker.adapters.connection import connected
from worker.adapters.follower import follow_queue
from worker.adapters.ledgers import initialise_ledger
from worker.adapters.publisher import AmqpPublisher
from worker.adapters.topology import declare
from worker.cli.broker import run_with_broker
from worker.cli.context import CommandContext, JsonOption, context_of
from worker.cli.demo_answers import COLUMNS, LINK_WIDTH, Answers
from worker.cli.demo_cases import CASES, Case
from worker.cli.demo_settings import demo_settings
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.output import Format
from worker.identity import identity_of, operation_id_of
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.provisioning import topology_of
from worker.rules import BrokerAddress
from worker.settings import (
    BrokerUrlError,
    environment_without_settings,
    load,
    split_broker_url,
)
from worker.simulator.server import Simulator

ORIGIN = "demo"
_PREFIX = "payments-demo."


def register(app: typer.Typer) -> None:
    """Add the ``demo`` command."""
    app.command("demo", epilog="Example: payment-worker demo --amqp-url amqp://localhost/payments")(
        _demo
    )


def _demo(
    typer_context: typer.Context,
    amqp_url: Annotated[
        str, typer.Option(envvar="AMQP_URL", help="Broker; objects are named payments-demo.*")
    ] = "amqp://guest:guest@localhost:5672/",
    json_output: JsonOption = False,
) -> ExitCode:
    """Run simulated providers and a worker, publish real requests, show what came of each."""
    context = context_of(typer_context, json=json_output)
    try:
        address = split_broker_url(amqp_url, connection_name="demo")
    except BrokerUrlError as error:
        raise CommandError(
            "broker_url", str(error), exit_code=ExitCode.USAGE, field="--amqp-url"
        ) from error
    with tempfile.TemporaryDirectory(prefix="payment-worker-demo-") as directory:
        return run_with_broker(Demonstration(context, address, Path(directory)).run())


class Demonstration:
    """One run: its parts are started in order and stopped in the reverse one."""

    def __init__(self, context: CommandContext, address: BrokerAddress, directory: Path) -> None:
        self._context = context
        self._output = context.output
        self._clock = context.clock
        self._address = address
        self._directory = directory
        self._config = directory / "settings.toml"
        self._answers = Answers(self._clock)

    async def run(self) -> ExitCode:
        """Show everything; the exit code says whether it came out as it must."""
        async with Simulator(clock=self._clock) as simulator:
            self._write_settings(simulator)
            loaded = load(today=self._clock.now().date(), config=self._config, environment={})
            topology = topology_of(loaded.settings)
            queue = topology.named(f"results.{ORIGIN}")
            await initialise_ledger(loaded.settings.ledger_place())
            async with connected(self._address, role="demo") as connection:
                self._output.say("Declaring exchanges and queues, starting the worker")
                await declare(connection, topology)
                deliveries = follow_queue(connection, queue, topology=topology, clock=self._clock)
                async with (
                    self._answers.following(deliveries),
                    self._worker(),
                    AmqpPublisher(
                        self._address,
                        topology,
                        clock=self._clock,
                        on_trouble=lambda _trouble, _delay: None,
                    ) as publisher,
                ):
                    await self._ask(publisher)
                    await self._follow_up(publisher)
            return self._sum_up(simulator)

    def _write_settings(self, simulator: Simulator) -> None:
        text = demo_settings(
            address=self._address,
            prefix=_PREFIX,
            directory=self._directory,
            link_base_url=simulator.link_base_url,
            basket_base_url=simulator.base_url,
        )
        self._config.touch(mode=0o600)
        self._config.write_text(text, encoding="utf-8")

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[None]:
        """Run ``payment-worker run`` as a process of its own, as in production."""
        with (self._directory / "worker.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command("run"), stdout=log, stderr=log, env=environment_without_settings()
            )
            ending = asyncio.create_task(process.wait())
            ending.add_done_callback(lambda _: self._answers.stop_waiting())
            try:
                yield
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                await ending
                if process.returncode:
                    self._tell_failure(process.returncode)

    def _tell_failure(self, status: int) -> None:
        lines = (self._directory / "worker.log").read_text(encoding="utf-8").splitlines()
        self._output.warn(f"The worker ended with {status}; its last lines:")
        for line in lines[-3:]:
            self._output.say(f"  {line}")

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "worker", "--config", str(self._config), *arguments]

    async def _ask(self, publisher: AmqpPublisher) -> None:
        """Publish every case and wait for its first answer."""
        for number, case in enumerate(CASES):
            message = self._request(case, number)
            payment_id = operation_id_of(identity_of(ORIGIN, message.message_id))
            self._answers.expect(payment_id, case)
            await self._publish(publisher, message, payment_id)
        with self._output.progress("answers", len(CASES)) as advance:
            shown = 0

            def all_answered() -> bool:
                nonlocal shown
                answered = self._answers.answered
                advance(answered - shown)
                shown = answered
                return answered == len(CASES)

            await self._answers.until_all(all_answered)

    async def _follow_up(self, publisher: AmqpPublisher) -> None:
        """Show the rows, then replay a dead letter, cancel an item and repeat a request."""
        self._show(list(self._answers.cases))
        for payment_id, case in list(self._answers.cases.items()):
            if case.is_replayed:
                self._output.say("\nReplaying the dead letter of the unknown refusal:")
                await self._replay(payment_id)
            if case.is_cancelled:
                self._output.say("\nCancelling the last basket item:")
                await self._cancel(publisher, payment_id)
        first = next(iter(self._answers.cases))
        self._output.say("\nSending the first request again, under the same key:")
        await self._repeat(publisher, first)

    async def _replay(self, payment_id: UUID) -> None:
        self._answers.start(payment_id)
        process = await asyncio.create_subprocess_exec(
            *self._command("dead-letters", "replay", str(payment_id)),
            *("--reason", "demonstration", "--yes"),
            stdout=sys.stderr,
            stderr=sys.stderr,
            env=environment_without_settings(),
        )
        await process.wait()
        await self._answers.until(payment_id, 2)
        self._show([payment_id])

    async def _cancel(self, publisher: AmqpPublisher, payment_id: UUID) -> None:
        message = self._message(
            "payment.cancel", json.dumps({"payment_id": str(payment_id)}).encode()
        )
        await self._publish(publisher, message, payment_id)
        await self._answers.until(payment_id, 2)
        self._show([payment_id])

    async def _repeat(self, publisher: AmqpPublisher, payment_id: UUID) -> None:
        message = self._request(CASES[0], 0)
        await self._publish(publisher, message, payment_id)
        await self._answers.until(payment_id, 2)
        events = self._answers.events[payment_id]
        same = events[0] == events[-1]
        self._output.say(f"  the same event again ({events[-1]['event_id']}): {same}")

    async def _publish(
        self, publisher: AmqpPublisher, message: OutgoingMessage, payment_id: UUID
    ) -> None:
        self._answers.start(payment_id)
        published = await publisher.publish(message)
        if published is not Publication.CONFIRMED:
            raise CommandError(
                "not_published", f"A request ended {published}.", exit_code=ExitCode.UNREACHABLE
            )

    def _request(self, case: Case, number: int) -> OutgoingMessage:
        body = {
            "payment_target": case.target,
            "payment_run_mode": "TEST",
            "payment_type": "SEPA",
            "id_origin": ORIGIN,
            "id_societe": case.company,
            "id_client": "2263",
            "id_commande": str(40001 + number),
            "type_paiement": "SEPA",
            "amount": str(1250 + 100 * number),
            "email": f"sim+{case.magic}@example.org",
        }
        key = f"{self._directory.name}-{number}"
        return self._message("payment.initiate", json.dumps(body).encode(), key)

    def _message(self, kind: str, body: bytes, key: str | None = None) -> OutgoingMessage:
        return OutgoingMessage(
            exchange=Exchange.REQUESTS,
            routing_key=f"{kind}.{ORIGIN}",
            body=body,
            message_id=key or str(self._clock.new_id()),
        )

    def _show(self, payments: list[UUID]) -> None:
        width = LINK_WIDTH if self._output.format is Format.HUMAN else None
        self._output.table(COLUMNS, [self._answers.row(each, width) for each in payments])

    def _sum_up(self, simulator: Simulator) -> ExitCode:
        self._output.say(
            f"\n{len(CASES)} requests and a cancellation gave {self._answers.count} events; the "
            f"providers themselves count {simulator.applied.total} applied operations:\n"
            "one for each success and each lost answer, one for the removal."
        )
        if wrong := self._answers.unexpected():
            self._output.warn(f"Not as expected: {', '.join(wrong)}.")
            return ExitCode.FAILED
        self._output.success("Every answer is as it must be.")
        return ExitCode.OK
