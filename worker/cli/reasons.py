"""Why somebody acts: every act of an operator has a reason, which the audit keeps."""

from worker.cli.exit_codes import CommandError, ExitCode


def checked_reason(reason: str, *, example: str) -> str:
    """The reason without blanks around it; raises ``CommandError`` where there is none."""
    if not reason.strip():
        raise CommandError(
            "reason_missing",
            "The audit needs a reason.",
            exit_code=ExitCode.USAGE,
            field="--reason",
            fix=f"Write why in a few words, without names: --reason '{example}'.",
        )
    return reason.strip()
