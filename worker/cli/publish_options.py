"""The options of ``payment-worker publish``, in the three groups its help shows."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.completions import origins, payment_types, run_modes, targets
from worker.submission.rows import Shape
from worker.submission.sending import Limits

LIMITS = Limits()

_ONE = "One request by its fields"
_MANY = "Requests in a file"
_CANCELLING = "Cancelling"


def _option(
    *names: str, text: str, panel: str, completed: Callable[..., object] | None = None
) -> object:
    return typer.Option(
        *names, help=text, rich_help_panel=panel, show_default=False, autocompletion=completed
    )


FileArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE", help="Requests as JSON Lines, CSV or JSON; - is standard input."
    ),
]
ShapeOption = Annotated[
    Shape | None,
    _option("--format", text="Shape of the file; else by its suffix or beginning.", panel=_MANY),
]
KeyColumnOption = Annotated[
    str | None,
    _option(
        "--key-column",
        text="Column with each intent's own key; else the key is made from file and row.",
        panel=_MANY,
    ),
]
NewIntentOption = Annotated[
    bool,
    typer.Option(
        "--new-intent", help="Send the file as new requests: may pay again.", rich_help_panel=_MANY
    ),
]
IntentOption = Annotated[
    UUID | None,
    _option("--intent", text="Repeat the --new-intent run with this id.", panel=_MANY),
]
TargetOption = Annotated[
    str | None, _option("--target", text="payment_target.", panel=_ONE, completed=targets)
]
ModeOption = Annotated[
    str | None, _option("--mode", text="payment_run_mode.", panel=_ONE, completed=run_modes)
]
TypeOption = Annotated[
    str | None, _option("--type", text="payment_type.", panel=_ONE, completed=payment_types)
]
PaymentTypeOption = Annotated[
    str | None,
    _option(
        "--payment-type",
        "--type-paiement",
        text="type_paiement; else as --type.",
        panel=_ONE,
        completed=payment_types,
    ),
]
OriginOption = Annotated[
    str | None, _option("--origin", text="id_origin: who asks.", panel=_ONE, completed=origins)
]
CompanyOption = Annotated[str | None, _option("--company", text="id_societe.", panel=_ONE)]
ClientOption = Annotated[str | None, _option("--client", text="id_client.", panel=_ONE)]
OrderOption = Annotated[str | None, _option("--order", text="id_commande; 0 is none.", panel=_ONE)]
AmountOption = Annotated[
    str | None, _option("--amount", text="In cents: 1250 is 12.50.", panel=_ONE)
]
EmailOption = Annotated[str | None, _option("--email", text="The customer's e-mail.", panel=_ONE)]
CommentOption = Annotated[str | None, _option("--comment", text="commentaire.", panel=_ONE)]
KeyOption = Annotated[
    str | None,
    _option("--key", text="Key of the intent, the same on every re-send.", panel=_ONE),
]
NotAfterOption = Annotated[
    str | None,
    typer.Option(help="Past this time (RFC 3339) no attempt starts.", show_default=False),
]
CancelOption = Annotated[
    UUID | None, _option("--cancel", text="Ask to cancel this payment.", panel=_CANCELLING)
]
CancelKeyOption = Annotated[
    str | None,
    _option("--cancel-key", text="The same, by the payment's key.", panel=_CANCELLING),
]
NotifyOption = Annotated[
    bool | None,
    _option(
        "--notify/--no-notify",
        text="Whether the provider tells the item's form.",
        panel=_CANCELLING,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Check only; send nothing.")]
PatienceOption = Annotated[
    float,
    typer.Option(help="Seconds to repeat an unknown publication before giving up.", min=0.0),
]
