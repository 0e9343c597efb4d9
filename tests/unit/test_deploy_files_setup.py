"""The set-up of deploy/demo and deploy/test on machines that lack something, played with fakes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "deploy" / "lib" / "environment.sh"
PROCESSES = ROOT / "deploy" / "lib" / "processes.sh"
INSTALL = ROOT / "deploy" / "lib" / "install-packages"
ORDINARY = (
    *("cat", "chmod", "cmp", "cut", "env", "flock", "grep", "mkdir", "mv", "rm", "rmdir", "sed"),
    *("sha256sum", "sh", "sleep", "tail", "tr"),
)
LIBRARIES = f". {ENVIRONMENT}; . {PROCESSES}; "


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A directory that serves as PATH, one as the root of a system, and a place for notes."""

    commands: Path
    tree: Path
    work: Path

    @property
    def policy(self) -> Path:
        return self.tree / "usr/sbin/policy-rc.d"

    @property
    def clusters(self) -> Path:
        """Where PostgreSQL's package asks whether it may create a cluster."""
        return self.tree / "etc/postgresql-common/createcluster.d"

    @property
    def notes(self) -> str:
        """What the fake commands wrote down, one line each."""
        path = self.work / "notes"
        return path.read_text("utf-8") if path.exists() else ""

    def command(self, name: str, body: str) -> None:
        """Puts a fake command on the PATH."""
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.commands),
            "TREE": str(self.tree),
            "NOTES": str(self.work / "notes"),
            "PIPE": str(self.work / "pipe"),
            "program": "set-up",
            "work": str(self.work),
        }

    def start(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
        """Starts a script on this machine, in a directory that looks like a checkout."""
        return subprocess.Popen(  # noqa: S603 - our own scripts, with the arguments of a test
            ["/bin/sh", *arguments],
            env=self.environment() | variables,
            cwd=self.work,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **variables) as running:
            output, errors = running.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, running.returncode, output, errors)

    def install(self, package: str) -> subprocess.CompletedProcess[str]:
        return self.run(INSTALL, "--root", self.tree, package)

    def source(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs lines of sh after the two libraries."""
        return self.run("-euc", LIBRARIES + text, **variables)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with the ordinary commands, apt-get that notes whether services may start."""
    made = Machine(commands=tmp_path / "bin", tree=tmp_path / "tree", work=tmp_path / "work")
    for path in (made.commands, made.policy.parent, made.tree / "var/lib/dpkg", made.work):
        path.mkdir(parents=True)
    (made.tree / "var/lib/dpkg/status").touch()
    for name in ORDINARY:
        found = next(
            place / name for place in (Path("/usr/bin"), Path("/bin")) if (place / name).exists()
        )
        (made.commands / name).symlink_to(found)
    made.command("systemctl", 'echo "systemctl $*" >>"$NOTES"')
    made.command(
        "apt-get",
        'answer=0; "$TREE/usr/sbin/policy-rc.d" || answer=$?\n'
        'echo "apt-get $1, policy $answer" >>"$NOTES"',
    )
    return made


def test_services_are_forbidden_to_start_while_packages_are_installed(machine: Machine) -> None:
    done = machine.install("rabbitmq-server")
    assert done.returncode == 0, done.stderr
    assert machine.notes.splitlines() == [
        "apt-get update, policy 101",
        "apt-get install, policy 101",
        "systemctl disable rabbitmq-server.service",
    ]
    assert list(machine.policy.parent.iterdir()) == []


NO_CLUSTER = 'cat "$TREE"/etc/postgresql-common/createcluster.d/*.conf >>"$NOTES"'
"""What PostgreSQL's package does of it, as a fake apt-get does it: read the file."""


def test_postgresql_is_installed_without_a_cluster_of_its_own(machine: Machine) -> None:
    machine.command("apt-get", f'[ "$1" = update ] || {NO_CLUSTER}')
    done = machine.install("postgresql")
    assert done.returncode == 0, done.stderr
    assert machine.notes.splitlines() == [
        "create_main_cluster = false",
        "systemctl disable postgresql.service",
    ]
    assert list(machine.policy.parent.iterdir()) == []
    assert not machine.clusters.parent.exists()


def test_what_postgresql_was_told_before_stays(machine: Machine) -> None:
    """The package keeps its own configuration beside our file for the time being."""
    machine.clusters.mkdir(parents=True)
    (machine.clusters / "site.conf").write_text("initdb_options = '-k'\n", "utf-8")
    assert machine.install("postgresql").returncode == 0
    assert [file.name for file in machine.clusters.iterdir()] == ["site.conf"]


@pytest.mark.parametrize("body", ["exit 100", "kill $PPID; sleep 0.1"])
def test_nothing_of_ours_stays_when_installing_postgresql_ends_early(
    machine: Machine, body: str
) -> None:
    machine.command("apt-get", f'[ "$1" = update ] || {{ {body}; }}')
    assert machine.install("postgresql").returncode in {100, 143}
    assert not machine.clusters.parent.exists()
    assert list(machine.policy.parent.iterdir()) == []


def test_other_packages_leave_postgresql_alone(machine: Machine) -> None:
    machine.command("apt-get", '[ -e "$TREE/etc" ] || echo untouched >>"$NOTES"')
    assert machine.install("rabbitmq-server").returncode == 0
    assert machine.notes.splitlines() == [
        "untouched",
        "untouched",
        "systemctl disable rabbitmq-server.service",
    ]


def test_postgresql_is_installed_only_where_no_version_of_it_is_there(
    machine: Machine, tmp_path: Path
) -> None:
    programs = tmp_path / "versions/15/bin"
    machine.command("id", "echo 1000")
    machine.command("sudo", f"mkdir -p {programs}; cp /bin/true {programs}/initdb; echo x >>$NOTES")
    (machine.commands / "cp").symlink_to("/bin/cp")
    for _ in range(2):
        done = machine.source("ensure_postgresql", postgresql_versions=str(tmp_path / "versions"))
        assert done.returncode == 0, done.stderr
    assert machine.notes == "x\n"


def test_a_package_without_its_programs_is_said_so(machine: Machine, tmp_path: Path) -> None:
    machine.command("id", "echo 1000")
    machine.command("sudo", "exit 0")
    done = machine.source("ensure_postgresql", postgresql_versions=str(tmp_path))
    assert done.returncode == 69
    assert "initdb is missing" in done.stderr


def test_a_policy_that_was_there_stays_exactly_as_it_was(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 101 # the administrator's\n", "utf-8")
    machine.policy.chmod(0o750)
    before = machine.policy.stat()
    assert machine.install("rabbitmq-server").returncode == 0
    after = machine.policy.stat()
    assert machine.policy.read_text("utf-8").endswith("# the administrator's\n")
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (
        before.st_ino,
        before.st_mode,
        before.st_mtime_ns,
    )


def test_a_policy_that_lets_services_start_is_neither_changed_nor_ignored(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 0\n", "utf-8")
    machine.policy.chmod(0o755)
    done = machine.install("rabbitmq-server")
    assert done.returncode == 69
    assert "install rabbitmq-server yourself" in done.stderr
    assert machine.notes == ""
    assert machine.policy.read_text("utf-8") == "#!/bin/sh\nexit 0\n"


def test_our_policy_goes_away_when_the_installation_fails(machine: Machine) -> None:
    machine.command("apt-get", "exit 100")
    done = machine.install("rabbitmq-server")
    assert done.returncode == 100
    assert list(machine.policy.parent.iterdir()) == []


def test_a_source_that_cannot_be_reached_does_not_stop_the_installation(machine: Machine) -> None:
    machine.command("apt-get", '[ "$1" = install ] && echo "$*" >>"$NOTES"')
    assert machine.install("rabbitmq-server").returncode == 0
    assert "--no-install-recommends" in machine.notes


def test_our_policy_goes_away_when_the_installation_is_interrupted(machine: Machine) -> None:
    os.mkfifo(machine.work / "pipe")
    machine.command("apt-get", 'echo begun >"$PIPE"; exec sleep 60')
    with machine.start(INSTALL, "--root", machine.tree, "rabbitmq-server") as running:
        assert (machine.work / "pipe").read_text("utf-8") == "begun\n"
        assert machine.policy.exists()
        os.killpg(running.pid, signal.SIGTERM)
        assert running.wait(timeout=30) == 143
    assert list(machine.policy.parent.iterdir()) == []


def test_a_policy_left_by_a_killed_run_is_taken_over_and_removed(machine: Machine) -> None:
    os.mkfifo(machine.work / "pipe")
    machine.command("apt-get", 'echo begun >"$PIPE"; exec sleep 60')
    with machine.start(INSTALL, "--root", machine.tree, "rabbitmq-server") as running:
        (machine.work / "pipe").read_text("utf-8")
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(timeout=30)
    assert machine.policy.exists()
    machine.command("apt-get", "true")
    assert machine.install("rabbitmq-server").returncode == 0
    assert not machine.policy.exists()


def test_a_user_without_sudo_is_told_what_to_install(machine: Machine) -> None:
    machine.command("id", "echo 1000")
    done = machine.source("install_packages RabbitMQ rabbitmq-server")
    assert done.returncode == 69
    assert "run this as root or install sudo" in done.stderr
    assert "apt-get install --no-install-recommends rabbitmq-server" in done.stderr


def test_a_user_with_sudo_installs_through_it(machine: Machine) -> None:
    machine.command("id", "echo 1000")
    machine.command("sudo", 'echo "sudo $*" >>"$NOTES"')
    done = machine.source("install_packages RabbitMQ rabbitmq-server")
    assert done.returncode == 0, done.stderr
    assert machine.notes == f"sudo {machine.work}/deploy/lib/install-packages rabbitmq-server\n"


def test_a_system_without_apt_is_told_what_is_missing(machine: Machine) -> None:
    (machine.commands / "apt-get").unlink()
    done = machine.source("install_packages RabbitMQ rabbitmq-server")
    assert done.returncode == 69
    assert "there is no apt-get here" in done.stderr


def test_the_output_of_an_installer_is_shown_when_it_fails_and_only_then(machine: Machine) -> None:
    machine.command("id", "echo 1000")
    machine.command("sudo", "echo 'E: Unable to locate package'; exit 100")
    failed = machine.source("install_packages RabbitMQ rabbitmq-server")
    assert failed.returncode == 69
    assert "E: Unable to locate package" in failed.stderr
    assert "RabbitMQ could not be installed" in failed.stderr
    machine.command("sudo", "echo 'Setting up rabbitmq-server'")
    passed = machine.source("install_packages RabbitMQ rabbitmq-server")
    assert passed.returncode == 0
    assert "Setting up" not in passed.stdout + passed.stderr


def test_the_first_interpreter_that_is_new_enough_and_complete_is_taken(machine: Machine) -> None:
    machine.command("python3", "exit 1")
    machine.command("python3.13", "case $2 in *ensurepip*) exit 1 ;; esac")
    machine.command("python3.12", "exit 0")
    done = machine.source("find_python")
    assert done.stdout == f"{machine.commands}/python3.12\n"


def test_uv_makes_up_for_a_missing_venv_module(machine: Machine) -> None:
    machine.command("python3", "case $2 in *ensurepip*) exit 1 ;; esac")
    machine.command("uv", "exit 0")
    assert machine.source("find_python").stdout == f"{machine.commands}/python3\n"


def test_an_interpreter_that_was_asked_for_is_never_replaced(machine: Machine) -> None:
    machine.command("python3", "exit 0")
    machine.command("python3.9", "exit 1")
    done = machine.source("ensure_python", PYTHON="python3.9")
    assert done.returncode == 69
    assert "PYTHON=python3.9 is not a Python 3.11 or newer" in done.stderr


def test_nothing_is_installed_again_until_a_pin_changes(machine: Machine) -> None:
    (machine.work / ".venv").mkdir()
    (machine.work / "pyproject.toml").touch()
    (machine.work / "run.txt").write_text("one==1\n", "utf-8")
    ask = "place=.venv; is_installed run run.txt && echo installed || echo missing"
    assert machine.source(ask).stdout == "missing\n"
    machine.source("checksum_of run.txt >.venv/installed-run")
    assert machine.source(ask).stdout == "installed\n"
    (machine.work / "run.txt").write_text("one==2\n", "utf-8")
    assert machine.source(ask).stdout == "missing\n"


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the directory "here"."""
    with subprocess.Popen(
        ["/bin/sleep", "60"], env={"TMPDIR": str(tmp_path / "elsewhere")}
    ) as running:
        yield running
        running.kill()


def test_what_a_run_left_behind_is_ended_and_nothing_else(
    machine: Machine, tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    here = tmp_path / "here"
    with subprocess.Popen(["/bin/sleep", "60"], env={"TMPDIR": str(here)}) as left:
        done = machine.source(f"end_left_over {here}")
        assert done.returncode == 1
        assert "still running, ended now: /bin/sleep 60" in done.stderr
        assert left.wait(timeout=30) == -signal.SIGTERM
    assert bystander.poll() is None
    assert machine.source(f"end_left_over {here}").returncode == 0


def test_an_attended_command_can_still_be_interrupted_and_keeps_its_status(
    machine: Machine,
) -> None:
    """For background commands sh ignores SIGINT; Python would then never install its handler."""
    check = "import signal; raise SystemExit(signal.getsignal(2) is not signal.default_int_handler)"
    assert machine.source(f"run_attended {sys.executable} -c '{check}'").returncode == 0
    assert machine.source("run_attended sh -c 'exit 7'").returncode == 7


def test_a_signal_to_the_script_reaches_the_command_it_attends(machine: Machine) -> None:
    os.mkfifo(machine.work / "pipe")
    machine.command(
        "attended",
        "trap 'echo told >>\"$NOTES\"; exit 0' INT\n"
        'echo begun >"$PIPE"\n'
        "while :; do sleep 0.1; done",
    )
    text = "trap 'interrupt 143' TERM; run_attended attended"
    with machine.start("-euc", LIBRARIES + text) as running:
        (machine.work / "pipe").read_text("utf-8")
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 143
    assert machine.notes == "told\n"
