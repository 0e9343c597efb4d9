"""Who is at the keyboard, as the operating system knows it: never an option."""

import os
import pwd
from pathlib import Path

_NOBODY_LOGGED_IN = 2**32 - 1


def operating_system_account() -> str:
    """Account of the login session (which ``sudo`` does not change), else of the process.

    It proves which account acted, not which person: operations 1.8. Where nobody has logged in, as
    in many containers, the kernel lets a process name a session for itself, once and without any
    privilege (measured on Linux 6.18): there it proves nothing against somebody who lies.
    """
    user = _login_user()
    user = os.getuid() if user is None else user
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"


def _login_user() -> int | None:
    try:
        user = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if user == _NOBODY_LOGGED_IN else user
