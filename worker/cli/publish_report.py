"""What became of each request, as a table, as lines or as JSON, and in one sentence."""

from collections import Counter
from collections.abc import Mapping, Sequence

from worker.cli.exit_codes import ExitCode
from worker.cli.money import euros
from worker.cli.output import Advance, Format, Output
from worker.cli.publish_input import Intake
from worker.model import Fault
from worker.submission.checking import Ready, Refused, by_mode
from worker.submission.sending import Fate, Sent

VALID = "valid"
"""Status of a request that ``--dry-run`` would have let through."""

_COLUMNS = ("row", "line", "status", "payment_id", "message_id", "faults")
_GOOD = frozenset({VALID, Fate.ACCEPTED.value})
_FIXES = {
    "not_permitted": "Publish as a user who may write to the exchange, under this origin.",
    "exchange_missing": "See `payment-worker topology verify`, and the setting broker.prefix.",
}


class Report:
    """Prints one record per request and a summary; never a value of the request.

    For people the records wait for the end, because a table needs them all and a progress bar
    is drawn meanwhile; everybody else gets each as soon as it is known.
    """

    def __init__(self, output: Output, intake: Intake, *, is_dry_run: bool) -> None:
        self._output = output
        self._intake = intake
        self._is_dry_run = is_dry_run
        self._held: list[Mapping[str, object]] = []
        self._counts: Counter[str] = Counter()
        self._advance: Advance | None = None
        self._told: set[str] = set()

    def begin(self, *, to: str = "") -> None:
        """Say what is about to happen, then list what is refused before anything is sent."""
        checked = self._intake.checked
        if checked.ignored:
            names = ", ".join(checked.ignored)
            self._output.warn(f"Left out, because no request has such a field: {names}.")
        payments = "; ".join(
            f"{count} {mode}, {euros(cents)}" for mode, count, cents in by_mode(checked.ready)
        )
        if checked.ready and not self._is_dry_run:
            for note in self._intake.notes:
                self._output.say(note)
            about = f" ({payments})" if payments else ""
            self._output.say(f"Sending {len(checked.ready)} of {checked.total} to {to}{about}.")
        for refused in checked.refused:
            self._refused(refused)

    def valid(self, request: Ready) -> None:
        """Note a request that passed and is not to be sent."""
        self._ready(request, VALID)

    def sent(self, sent: Sent) -> None:
        """Note the fate of one request."""
        fault = sent.fault
        self._ready(sent.request, sent.fate.value, () if fault is None else (fault,))
        if fault is not None and fault.code not in self._told:
            self._told.add(fault.code)
            self._output.warn(fault.message, fix=_FIXES.get(fault.code))
        if self._advance is not None:
            self._advance(1)

    def advance_with(self, advance: Advance) -> None:
        """Advance a progress bar with every request whose fate is known."""
        self._advance = advance

    def trouble(self, error: Exception, delay: float) -> None:
        """Say that the broker is in trouble: once for each reason."""
        if str(error) not in self._told:
            self._told.add(str(error))
            self._output.warn(f"{error}; trying again in {delay:.1f} s.")

    def end(self, *, was_stopped: bool = False) -> ExitCode:
        """Print what was held back and the summary; return how the command ends."""
        if self._held:
            rows = sorted(self._held, key=lambda row: str(row["row"]).zfill(12))
            self._output.table(_COLUMNS, rows)
        total, good = self._counts.total(), sum(self._counts[each] for each in _GOOD)
        if self._output.is_json:
            self._output.record(self._summary(total))
        sentence = f"{self._listed()} of {total}."
        if good == total and total:
            self._output.success(sentence)
        else:
            self._output.warn(sentence if total else "There was nothing to send.", fix=self._fix())
        if was_stopped:
            return ExitCode.CANCELLED
        if good == total:
            return ExitCode.OK
        return ExitCode.PARTIAL if good else ExitCode.FAILED

    def _ready(self, request: Ready, status: str, faults: Sequence[Fault] = ()) -> None:
        self._note(
            {
                "row": request.number,
                "line": request.line,
                "status": status,
                "payment_id": request.payment_id,
                "message_id": request.message.message_id,
                "faults": self._shown(faults),
            }
        )

    def _refused(self, refused: Refused) -> None:
        self._note(
            {
                "row": refused.number,
                "line": refused.line,
                "status": Fate.REFUSED.value,
                "payment_id": None,
                "message_id": None,
                "faults": self._shown(refused.faults),
            }
        )

    def _note(self, row: Mapping[str, object]) -> None:
        self._counts[str(row["status"])] += 1
        if self._output.format is Format.HUMAN:
            self._held.append(row)
        elif self._output.is_json:
            self._output.record({"event": "request", **row})
        else:
            self._output.record(row)

    def _shown(self, faults: Sequence[Fault]) -> object:
        if self._output.is_json:
            return [
                {"field": each.field, "code": each.code, "message": each.message} for each in faults
            ]
        return [f"{each.field}: {each.code}" for each in faults]

    def _summary(self, total: int) -> dict[str, object]:
        first = VALID if self._is_dry_run else Fate.ACCEPTED.value
        others = [fate.value for fate in Fate if fate is not Fate.ACCEPTED]
        counted = {name: self._counts[name] for name in (first, *others)}
        return {"event": "summary", "total": total, **counted}

    def _listed(self) -> str:
        first = VALID if self._is_dry_run else Fate.ACCEPTED.value
        others = [fate.value for fate in Fate if self._counts[fate.value] and fate.value != first]
        return ", ".join(
            f"{self._counts[name]} {name.replace('_', ' ')}" for name in (first, *others)
        )

    def _fix(self) -> str | None:
        if self._counts[Fate.UNKNOWN.value] or self._counts[Fate.NOT_SENT.value]:
            return self._intake.again
        if self._counts[Fate.RETURNED.value]:
            return "No queue takes them; see `payment-worker topology verify`."
        return None
