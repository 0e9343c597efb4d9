"""Coverage-guided fuzzing of every reader of foreign input: ``python -m tests.faults.fuzz``.

Each reader is fuzzed in a process of its own, because libFuzzer ends the process it runs in. What
breaks a law is kept in ``tests/faults/findings/<reader>/`` and replayed by every test run from then
on. Needs the package pinned in ``deploy/requirements/fuzz.txt``.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

FINDINGS = Path(__file__).parent / "findings"
CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "schemas" / "examples" / "v1"

SHARES: Mapping[str, int] = MappingProxyType(
    {
        "request": 30,
        "headers": 20,
        "header-bytes": 8,
        "link-answer": 20,
        "basket-answer": 20,
        "settings": 2,
    }
)
"""Percent of the inputs; a settings file takes a hundred times as long to read as an answer."""

_LONGEST_INPUT = 4096
_SUMMARY = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")


@dataclass(frozen=True, slots=True)
class Ran:
    """How one reader fared; ``finding`` is the file of the input that broke its law."""

    reader: str
    inputs: int
    coverage: int
    finding: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the readers asked for; 0 when every law held, 1 when one was broken."""
    asked = _asked(arguments)
    if asked.child:
        _fuzz(asked.child, asked.flags)
    readers = [asked.reader] if asked.reader else list(SHARES)
    print(f"fuzzing {', '.join(readers)}: {asked.inputs} inputs, seed {asked.seed}")
    ran = []
    for reader in readers:
        share = 100 if asked.reader else SHARES[reader]
        ran.append(_run(reader, inputs=asked.inputs * share // 100, seed=asked.seed))
        _tell(ran[-1])
    print(f"{'all':<14} {sum(each.inputs for each in ran):>9} inputs")
    return 1 if any(each.finding for each in ran) else 0


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all readers")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--reader", choices=list(SHARES), help="only this one")
    parser.add_argument("--child", choices=list(SHARES), help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _run(reader: str, *, inputs: int, seed: int) -> Ran:
    """Fuzz one reader in a child and wait for it."""
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory) / "corpus"
        corpus.mkdir()
        for number, example in enumerate(_seeds(reader)):
            (corpus / f"{number:04}").write_bytes(example)
        kept = Path(directory) / "kept"
        kept.mkdir()
        language = Path(directory) / "language"
        language.write_text("\n".join(_words(reader)), "utf-8")
        flags = [f"-dict={language}"] if language.stat().st_size else []
        done = subprocess.run(  # noqa: S603 - our own module and numbers
            [
                *(sys.executable, "-m", "tests.faults.fuzz", "--child", reader, "--"),
                *(str(corpus), f"-runs={inputs}", f"-seed={seed}", f"-max_len={_LONGEST_INPUT}"),
                *(f"-artifact_prefix={kept}/", "-print_final_stats=1", *flags),
            ],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        finding = _keep(reader, kept)
    executed = _SUMMARY.search(done.stderr)
    if done.returncode and finding is None:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-1000:])
        raise SystemExit(done.returncode)
    if finding is not None:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-1000:])
    return Ran(
        reader=reader,
        inputs=int(executed[1]) if executed else 0,
        coverage=max((int(found) for found in _COVERAGE.findall(done.stderr)), default=0),
        finding=finding,
    )


def _fuzz(reader: str, flags: Sequence[str]) -> None:
    """Be the child: never returns."""
    import atheris  # noqa: PLC0415 - only here: everything else of this module runs without it

    with atheris.instrument_imports(include=["worker"]):
        from tests.faults.laws import LAWS  # noqa: PLC0415 - its imports are to be instrumented

    atheris.Setup([sys.argv[0], *flags], LAWS[reader])
    atheris.Fuzz()


def _seeds(reader: str) -> list[bytes]:
    """Inputs to begin with: our own examples, behind the bytes that choose what is around."""
    match reader:
        case "request":
            bodies = [
                file.read_bytes()
                for kind in ("payment-request", "cancel-request")
                for file in sorted((EXAMPLES / kind).rglob("*.json"))
            ]
            return [bytes([where, where, 3, where]) + body for body in bodies for where in range(3)]
        case "headers":
            return [bytes([2, 1]) + bytes([name, 0, 3]) + b"1.0" for name in range(20)]
        case "header-bytes":
            return [b"\x08identityS\x00\x00\x00\x05dcp\x1f1", b"\x02CCA\x00\x00\x00\x00"]
        case "link-answer":
            return [b"\0\3" + json.dumps(answer).encode() for answer in _LINK_ANSWERS]
        case "basket-answer":
            return [b"\0\4\0" + json.dumps(answer).encode() for answer in _BASKET_ANSWERS]
        case _:
            from tests.settings_sample import LIVE, SAMPLE  # noqa: PLC0415 - the child instruments

            return [b"\0" + SAMPLE.encode(), b"\1" + LIVE.encode(), b"\1[timing]\ncall_seconds=9"]


_LINK_ANSWERS: tuple[Mapping[str, object], ...] = (
    {"result": True, "link": "https://pay.example.org/p?SDESSID=a"},
    {"result": False, "code": "EXIST_001"},
    {"result": False, "code": "NOK_001", "message": "no"},
    {"result": True, "link": "https://elsewhere.example.org/"},
)
_BASKET_ANSWERS: tuple[Mapping[str, object], ...] = (
    {"result": "succes", "id": 12, "payment_url": "https://pay.example.org/p"},
    {"err": 1, "err_desc": "no"},
    {"id": "12", "err": 0},
    {"result": "success"},
)


def _words(reader: str) -> list[str]:
    """The words of a reader's language, which chance alone would take long to find."""
    words = {
        "request": (
            "payment_target LABANQUEPOSTALE PAYBOX MILLIET payment_run_mode TEST LIVE FORCE_LIVE"
            " payment_type DIRECT_SEPA SEPA CB AMEX COMPTABILITE id_origin id_societe id_client"
            " id_commande type_paiement amount email commentaire payment_id idempotency_key notify"
            " true false null NaN Infinity \\u0000 \\ud800"
        ),
        "link-answer": "result link code true false https:// EXIST_001 AUTH_001 null \\ud800",
        "basket-answer": "id err err_desc result succes payment_url payement_url https:// null",
        "settings": (
            "environment staging production [broker] [ledger] [timing] [accounts.a]"
            " [accounts.a.test] base_url login password link_hosts companies provider link basket"
            " true false call_seconds lease_seconds [force_live] until 2026-12-31 origins"
        ),
    }.get(reader, "")
    return [json.dumps(word, ensure_ascii=True) for word in words.split() if "\\" not in word]


def _keep(reader: str, kept: Path) -> Path | None:
    """Move what broke the law to the findings; libFuzzer names it by its digest."""
    for file in sorted(kept.iterdir()):
        folder = FINDINGS / reader
        folder.mkdir(parents=True, exist_ok=True)
        home = folder / file.name
        home.write_bytes(file.read_bytes())
        return home
    return None


def _tell(ran: Ran) -> None:
    verdict = "held" if ran.finding is None else f"BROKEN by {ran.finding.relative_to(CHECKOUT)}"
    print(f"{ran.reader:<14} {ran.inputs:>9} inputs {ran.coverage:>6} edges  {verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
