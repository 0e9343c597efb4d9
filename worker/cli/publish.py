"""``payment-worker publish``: send payment requests, or ask to cancel one."""

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import typer

from worker.adapters.connection import connected
from worker.adapters.lone_publish import publish_alone
from worker.adapters.publisher import AmqpPublisher
from worker.cli.broker import run_with_broker
from worker.cli.client import client_of
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.output import Advance, Format, Output
from worker.cli.publish_input import (
    FileChoice,
    Intake,
    cancel_intake,
    fields_intake,
    file_intake,
    time_limit,
    usage,
)
from worker.cli.publish_options import (
    LIMITS,
    AmountOption,
    CancelKeyOption,
    CancelOption,
    ClientOption,
    CommentOption,
    CompanyOption,
    DryRunOption,
    EmailOption,
    FileArgument,
    IntentOption,
    KeyColumnOption,
    KeyOption,
    ModeOption,
    NewIntentOption,
    NotAfterOption,
    NotifyOption,
    OrderOption,
    OriginOption,
    PatienceOption,
    PaymentTypeOption,
    ShapeOption,
    TargetOption,
    TypeOption,
)
from worker.cli.publish_report import Report
from worker.rules import BrokerAddress
from worker.submission.sending import Limits, Sender
from worker.topology import Topology

_PUBLISH_SECONDS = 10.0
_EXAMPLE = "Example: payment-worker publish requests.csv --key-column piece"


def register(app: typer.Typer) -> None:
    """Add the ``publish`` command."""
    app.command("publish", epilog=_EXAMPLE)(_publish)


def _publish(
    typer_context: typer.Context,
    file: FileArgument = None,
    shape: ShapeOption = None,
    key_column: KeyColumnOption = None,
    new_intent: NewIntentOption = False,
    intent: IntentOption = None,
    target: TargetOption = None,
    mode: ModeOption = None,
    payment_type: TypeOption = None,
    type_paiement: PaymentTypeOption = None,
    origin: OriginOption = None,
    company: CompanyOption = None,
    client: ClientOption = None,
    order: OrderOption = None,
    amount: AmountOption = None,
    email: EmailOption = None,
    comment: CommentOption = None,
    key: KeyOption = None,
    cancel: CancelOption = None,
    cancel_key: CancelKeyOption = None,
    notify: NotifyOption = None,
    not_after: NotAfterOption = None,
    dry_run: DryRunOption = False,
    patience: PatienceOption = LIMITS.patience,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Publish payment requests, confirmed by the broker; the answers come later (see watch).

    Every request is checked first as the worker will check it; what it would refuse is listed
    and not sent. Sending the same file again repeats nothing: each row keeps its identity. An
    edited file is another file, so give --key-column where files are corrected and sent again.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    fields = {
        "--target": target,
        "--mode": mode,
        "--type": payment_type,
        "--origin": origin,
        "--company": company,
        "--client": client,
        "--order": order,
        "--payment-type": type_paiement,
        "--amount": amount,
        "--email": email,
        "--comment": comment,
    }
    of_file = {
        "--format": shape,
        "--key-column": key_column,
        "--new-intent": new_intent or None,
        "--intent": intent,
    }
    of_cancel = {"--cancel": cancel, "--cancel-key": cancel_key, "--notify": notify}
    limit = time_limit(not_after, context.clock)
    if file is not None:
        _refuse_beside("a file", {**fields, **of_cancel, "--key": key})
        if new_intent and intent is not None:
            raise usage("--intent", "It repeats a run, and --new-intent begins one.")
        chosen_file = FileChoice(
            name=file,
            shape=shape,
            key_column=key_column,
            intent=intent,
            is_new_intent=new_intent,
        )
        intake = file_intake(chosen_file, limit, context.clock)
    elif cancel is not None or cancel_key is not None:
        unfit = {**fields, **of_file, "--origin": None, "--not-after": not_after}
        _refuse_beside("a cancellation", unfit)
        content = {"payment_id": cancel, "idempotency_key": cancel_key, "notify": notify}
        intake = cancel_intake(content, origin=origin, key=key, clock=context.clock)
    else:
        _refuse_beside("a single request", {**of_file, **of_cancel})
        intake = fields_intake(fields, key=key, not_after=limit, clock=context.clock)
    return _carried_out(context, intake, is_dry_run=dry_run, patience=patience)


def _refuse_beside(what: str, options: Mapping[str, object]) -> None:
    unfit = [name for name, value in options.items() if value is not None]
    if unfit:
        raise usage(", ".join(unfit), f"Not with {what}.")


def _carried_out(
    context: CommandContext, intake: Intake, *, is_dry_run: bool, patience: float
) -> ExitCode:
    report = Report(context.output, intake, is_dry_run=is_dry_run)
    ready = intake.checked.ready
    if is_dry_run or not ready:
        report.begin()
        for request in ready:
            report.valid(request)
        return report.end()
    address, topology = client_of(context, "publish")
    limits = Limits(patience=patience)
    was_stopped = run_with_broker(_send(context, address, topology, intake, report, limits))
    return report.end(was_stopped=was_stopped)


async def _send(
    context: CommandContext,
    address: BrokerAddress,
    topology: Topology,
    intake: Intake,
    report: Report,
    limits: Limits,
) -> bool:
    """Send what is ready; return whether a signal cut it short. Raises ``BrokerTroubleError``."""
    # A short patience bounds the single publication too, or it would be none.
    seconds = min(_PUBLISH_SECONDS, max(limits.patience, 1.0))
    publisher = AmqpPublisher(
        address, topology, clock=context.clock, on_trouble=report.trouble, seconds=seconds
    )
    sender = Sender(
        publisher,
        partial(publish_alone, address, topology, seconds=seconds),
        clock=context.clock,
        report=report.sent,
        limits=limits,
    )
    ready = intake.checked.ready
    with _stopping(sender, context.output) as stopped:
        # One try with a clear reason: a broker that is not there at all is worth no patience.
        async with connected(address, role="publisher"):
            report.begin(to=f"{address.host}:{address.port}")
        with _bar(context.output, len(ready)) as advance:
            report.advance_with(advance)
            async with publisher:
                await sender.send(ready)
    return stopped.is_set()


def _bar(output: Output, total: int) -> AbstractContextManager[Advance]:
    """Draw a bar unless data is streamed to the same terminal, where it would be torn apart."""
    if output.format is Format.HUMAN or not sys.stdout.isatty():
        return output.progress("Publishing", total)
    return nullcontext(lambda _: None)


@contextmanager
def _stopping(sender: Sender, output: Output) -> Iterator[asyncio.Event]:
    """End in order on the first Ctrl-C or SIGTERM; the second Ctrl-C ends at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        output.say("Stopping after what is under way; Ctrl-C again leaves at once.")
        stopped.set()
        sender.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
