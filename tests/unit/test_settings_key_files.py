"""A client certificate's key is a credential too: who else may read its file."""

from pathlib import Path

import pytest

from tests.settings_sample import SAMPLE, faults_in, load_sample
from worker.settings.key_files import key_file_findings

TABLES = {
    "broker": SAMPLE.replace("[broker]", '[broker]\ncertificate_file = "{0}"\nkey_file = "{0}"'),
    "ledger.postgres": SAMPLE
    + '\n[ledger.postgres]\nhost = "127.0.0.1"\ncertificate_file = "{0}"\nkey_file = "{0}"\n',
}


def settings_text(table: str, key: Path) -> str:
    return TABLES[table].replace("{0}", str(key))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "client.key"
    file.write_text("a key", encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("table", TABLES)
def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path, key: Path, table: str) -> None:
    text = settings_text(table, key)
    assert faults_in(tmp_path, text) == {}
    key.chmod(0o640)
    assert faults_in(tmp_path, text) == {}, "a group may be what lets a container read it"
    key.chmod(0o644)
    faults = faults_in(tmp_path, text)
    assert faults.keys() == {f"{table}.key_file"}
    (fault,) = faults.values()
    assert (fault.check, "chmod 0400" in fault.sentence) == ("SEC001", True)


@pytest.mark.parametrize("table", TABLES)
def test_in_a_containers_secret_mount_it_only_warns(tmp_path: Path, key: Path, table: str) -> None:
    settings = load_sample(tmp_path, settings_text(table, key)).settings
    key.chmod(0o444)
    (found,) = key_file_findings(settings, mount=tmp_path)
    assert found.is_warning
    (found,) = key_file_findings(settings, mount=tmp_path / "elsewhere")
    assert not found.is_warning


def test_a_key_that_is_not_there_is_no_matter_of_permissions(tmp_path: Path) -> None:
    assert faults_in(tmp_path, settings_text("broker", tmp_path / "none.key")) == {}
