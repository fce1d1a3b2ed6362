"""The account to run a server as, and whether it can execute the program.

PostgreSQL refuses to run as root, so root runs it as an existing unprivileged account. Others run it as themselves.
"""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from zephyr_lab.errors import ServerUnavailable


@dataclass(frozen=True)
class Account:
    """`uid` and `gid` are None for our own account; `nameless`: it has no entry in the password database."""

    name: str
    uid: int | None = None
    gid: int | None = None
    nameless: bool = False


def server_account() -> Account:
    """Ourselves, or for root `postgres`, else `nobody`. Raises ServerUnavailable if neither exists, and on Windows."""
    try:
        import pwd
    except ImportError:
        raise ServerUnavailable(
            "the lab's own servers run on Linux and macOS: name a running PostgreSQL in ZEPHYR_LAB_PG_DSN and a Redis "
            "in ZEPHYR_LAB_REDIS_URL, or run the lab in WSL"
        ) from None
    if os.geteuid() != 0:
        try:
            return Account(pwd.getpwuid(os.geteuid()).pw_name)
        except KeyError:
            return Account(f"uid {os.geteuid()}", nameless=True)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerUnavailable(
        "PostgreSQL does not run as root, and there is neither an account `postgres` nor `nobody` to hand it to: "
        "run as an ordinary user, or give a server in ZEPHYR_LAB_PG_DSN"
    )


def ask_version(program: Path, account: Account) -> str | None:
    """The output of `program --version` run by `account`; None if that account may not execute it.

    Raises ServerUnavailable if we may not change to the account, or the program does not run at all.
    """
    try:
        # cwd: a child that cannot enter our own folder would fail for that reason alone.
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            cwd="/",
            check=False,
            env={"LC_ALL": "C", "PATH": os.defpath},
            user=account.uid,
            group=account.gid,
            extra_groups=None if account.uid is None else [],
        )
    except PermissionError as error:
        if error.errno == errno.EPERM:
            raise ServerUnavailable(
                f"root without the capability to become `{account.name}` (a container with cap-drop?): "
                "run as an ordinary user, or give a server in ZEPHYR_LAB_PG_DSN"
            ) from error
        return None
    except subprocess.TimeoutExpired:
        raise ServerUnavailable(f"{program} --version did not answer: is it what its name says?") from None
    except OSError as error:
        raise ServerUnavailable(f"{program} does not run here: {error.strerror}") from error
    if done.returncode != 0:
        raise ServerUnavailable(f"{program} --version failed: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()
