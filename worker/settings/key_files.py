"""Keys of client certificates: credentials in files of their own, which settings only name."""

from collections.abc import Iterator
from pathlib import Path as FilePath

from worker.settings.catalogue import Path
from worker.settings.faults import Finding
from worker.settings.layers import may_everybody_read
from worker.settings.root import Settings
from worker.settings.sources import CONTAINER_SECRETS


def key_file_findings(
    settings: Settings, *, mount: FilePath = CONTAINER_SECRETS
) -> Iterator[Finding]:
    """Say which keys everybody may read (SEC001); in a container's ``mount`` that only warns.

    One that is not there is no matter of permissions: who connects with it says so.
    """
    for path, file in _key_files(settings):
        if file is None or not may_everybody_read(file):
            continue
        is_mounted = file.is_relative_to(mount)
        cure = "mount it with mode 0400" if is_mounted else "chmod 0400"
        yield Finding(
            path, f"Everybody may read this key: {cure}.", "SEC001", is_warning=is_mounted
        )


def _key_files(settings: Settings) -> Iterator[tuple[Path, FilePath | None]]:
    yield ("broker", "key_file"), settings.broker.key_file
    if settings.ledger.postgres is not None:
        yield ("ledger", "postgres", "key_file"), settings.ledger.postgres.key_file
