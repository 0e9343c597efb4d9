"""The tables of README.md, made from the code: ``python -m tests.readme`` rewrites them."""

from pathlib import Path

from worker.checks import CHECKS, Group
from worker.cli.check import ending_of
from worker.codes import MEANINGS, Category, Code, is_dead_lettered, is_retryable
from worker.settings import reference

README = Path(__file__).parent.parent / "README.md"
BENCH = Path(__file__).parent / "bench" / "README.md"


def sections() -> dict[str, str]:
    """Each generated section by the name of its marker."""
    return {
        "settings": settings_table(),
        "codes": codes_table(),
        "checks": checks_table(),
        "speed": speed_table(),
    }


def speed_table() -> str:
    """The targets of the benchmark as they were measured, from the page that explains them."""
    text = BENCH.read_text("utf-8")
    return text[text.index("| what | target |") :].partition("\n\n")[0]


def settings_table() -> str:
    """Every setting; live endpoints have what test endpoints have, so they are left out."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for line in reference().splitlines()[2:]:
        name, _, default, meaning = (cell.strip() for cell in line.strip("|").split(" | ", 3))
        if ".live." not in name:
            rows.append(f"| {name} | {default} | {meaning.removesuffix(' |')} |")
    return "\n".join(rows)


def codes_table() -> str:
    """Every code with its category, what it promises and its sentence in both languages."""
    rows = [
        "| code | category | retryable | dead letter | français | English |",
        "|---|---|---|---|---|---|",
    ]
    for code, meaning in sorted(MEANINGS.items(), key=lambda each: _order(each[0])):
        category = f"`{meaning.category}`" if meaning.category else "(a succeeded event)"
        retryable = "yes" if is_retryable(code) else "no"
        cells = (f"`{code}`", category, retryable, _letter(code), meaning.fr, meaning.en)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def checks_table() -> str:
    """Every check by its id: what is so when all is well, and how ``check`` ends when it fails."""
    rows = ["| check | true when all is well | a start needs it | exit |", "|---|---|---|---|"]
    for check in sorted(CHECKS, key=lambda each: (list(Group).index(each.group), each.id)):
        start = "yes" if check.at_start else ""
        rows.append(f"| `{check.id}` | {check.title} | {start} | {ending_of(check).value} |")
    return "\n".join(rows)


def rendered(text: str) -> str:
    """The README with its generated sections as they must be."""
    for name, table in sections().items():
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{opening}{table}\n{closing}{after}"
    return text


def _order(code: Code) -> tuple[int, str]:
    category = MEANINGS[code].category
    return (list(Category).index(category) if category else len(Category), code)


def _letter(code: Code) -> str:
    if code is Code.PROVIDER_REFUSED:
        return "if its code is unknown"
    return "yes" if is_dead_lettered(code, provider_code_known=True) else "no"


if __name__ == "__main__":
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
