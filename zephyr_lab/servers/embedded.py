"""PostgreSQL and Valkey of our own: a fresh folder, a unix socket, a random password.

`carriers.py` finds the programs; `supervisor.py` starts and stops the server.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.carriers import Program, find_postgres, find_valkey

START_SECONDS = 60
# Bytes that must be free: PostgreSQL's data 23 MB, its write-ahead log 16 and then 32; and its programs, if copied.
POSTGRES_BYTES, PROGRAMS_BYTES, VALKEY_BYTES = 56 << 20, 48 << 20, 2 << 20
SMALLEST_SHARED_MEMORY = 16 << 20  # of /dev/shm; for parallel queries
ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath, "HOME": "{folder}", "TZ": "UTC"}
TEACHING_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "huge_pages": "off",  # `try` can kill the server in a container
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "autovacuum": "off",  # its ANALYZE may change plans at any time, and plans decide what SERIALIZABLE locks
    "jit": "off",
    "max_prepared_transactions": "10",
    "track_commit_timestamp": "on",
    "log_lock_waits": "on",
}


class Supervised:
    """A running server that ends with this object, with this process, or with `close()`, whichever comes first.

    `folder` is its private folder; `pid` the server's, `supervisor` its parent's; `password` that of a kept cluster,
    if it is one; `lifeline` the descriptor of the pipe that keeps it. Raises ServerUnavailable.
    """

    def __init__(self, program: Program, order: dict[str, Any]) -> None:
        self.program = program
        account = program.account
        order = {
            "uid": account.uid,
            "gid": account.gid,
            "seconds": START_SECONDS,
            "files": {},
            "setup": [],
            "stdin": None,
            "bases": _bases(),
            "bytes": 0,
            "copies": program.copies,
            "cluster": None,
            "nameless": None,
            "environment": ENVIRONMENT,
            **order,
        }
        # After the standard library, and without installed packages: it starts in half the time.
        ours = str(Path(__file__).parents[2])
        program_text = (
            f"import sys; sys.path.append({ours!r}); from zephyr_lab.servers import supervisor as s; s.main()"
        )
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", *(["-B"] if sys.dont_write_bytecode else []), "-c", program_text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
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
        self.lifeline: int = process.stdin.fileno() if process.stdin else -1
        self.folder = Path(answer["folder"])
        self.pid: int = answer["pid"]
        self.password: str | None = answer["password"]

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
    answer: dict[str, Any] = json.loads(line)
    return answer


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
    """Parent folders for the server's own, in order of preference."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp", "/dev/shm"]
    with contextlib.suppress(FileNotFoundError):  # none is writable
        candidates.insert(0, tempfile.gettempdir())
    bases = [str(Path(base).absolute()) for base in candidates if base]
    return [base for base in dict.fromkeys(bases) if _is_plain(base)]


def _is_plain(path: str) -> bool:
    """Whether a path can be a DSN's host, which is UTF-8 without `,` and `@`, and a word in initdb's commands."""
    try:
        return path.isprintable() and not set(path) & set('"\\$`,@') and path.encode() == os.fsencode(path)
    except UnicodeEncodeError:
        return False


def cache_folder() -> str | None:
    """Where clusters are kept: ZEPHYR_LAB_CACHE, else in the user's cache folder; None if that is not ours.

    Under `sudo`, root may have another user's HOME.
    """
    if named := os.environ.get("ZEPHYR_LAB_CACHE"):
        return str(Path(named).absolute())
    home = Path(os.environ.get("HOME") or "/nonexistent")
    default = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or default) / "zephyr-lab"
    there = next(parent for parent in folder.parents if parent.exists())
    return str(folder) if folder.is_absolute() and there.stat().st_uid == os.geteuid() else None


def _key(program: Program, initdb: list[str]) -> str:
    """A name for initdb's result, by all that determines it. A build is identified by the program's ends, in 1 ms."""
    told: list[object] = [1, program.version, os.uname().machine, program.account.name, initdb]
    for name in ("postgres", "initdb"):
        with program.path.with_name(name).open("rb") as file:
            head = file.read(1 << 16)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 16)))
            told += [size, hashlib.sha256(head + file.read()).hexdigest()]
    return f"zephyr-lab-kept-{program.major}-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}"


def _cluster(program: Program, initdb: list[str], password: str) -> dict[str, str] | None:
    try:
        cache = cache_folder()
        return {"cache": cache, "key": _key(program, initdb), "password": password} if cache else None
    except OSError:  # a program that we may execute but not read
        return None


def _mirror(program: Program) -> dict[str, Any]:
    """What the supervisor needs to create programs that work without an entry in the password database."""
    programs = [str(program.path.with_name(name).relative_to(program.tree)) for name in ("initdb", "postgres")]
    links = [[str(one), f"{{folder}}/programs/{one.name}"] for one in program.libraries]
    return {
        "tree": str(program.tree),
        "target": f"{{folder}}/programs/{program.tree.name}",
        "programs": programs,
        "links": links,
    }


def _small_shared_memory() -> list[str]:
    """Settings for a container whose /dev/shm is small or missing: the server's folder in its place."""
    if sys.platform != "linux":
        return []
    try:
        status = os.statvfs("/dev/shm")
        small = status.f_bavail * status.f_frsize < SMALLEST_SHARED_MEMORY
    except OSError:
        small = True
    return ["dynamic_shared_memory_type=mmap"] if small else []


def start_postgres(pg_bin: str | None = None) -> tuple[Supervised, str]:
    """A fresh PostgreSQL with a teaching server's settings, and a superuser's DSN. Raises ServerUnavailable."""
    from psycopg.conninfo import make_conninfo

    program = find_postgres(pg_bin)
    password = secrets.token_urlsafe(18)
    nameless = program.account.nameless
    small = _small_shared_memory()
    # Options by version: `initdb -c` came with 16.
    early = _flatten(lambda setting: ["-c", setting], ["huge_pages=off", *small]) if program.major >= 16 else []
    # Unformatted, an option stays beside its value.
    initdb = [
        "-D", "{folder}/data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", "{folder}/password", "-E", "UTF8",
        "--no-locale", "--no-sync", *early,
    ]  # fmt: skip
    server = Supervised(
        program,
        {
            **_running(program),
            "files": {"password": password + "\n"},
            "setup": [[program.command("initdb", mirrored=nameless), *initdb]],
            "nameless": _mirror(program) if nameless else None,
            "cluster": _cluster(program, initdb, password),
        },
    )
    return server, make_conninfo(
        host=str(server.folder), port=5432, user="postgres", dbname="postgres", password=server.password or password
    )


def _running(program: Program, *further: str) -> dict[str, Any]:
    """How a server with a teaching server's settings, and further ones, is started on its folder, and stopped."""
    settings = ['unix_socket_directories="{folder}"', "port=5432", *further]
    settings += [f"{name}={value}" for name, value in TEACHING_SETTINGS.items()] + _small_shared_memory()
    return {
        "prefix": "zephyr-lab-pg-",
        "bytes": POSTGRES_BYTES + (PROGRAMS_BYTES if program.copied else 0),
        "server": [program.command("postgres"), "-D", "{folder}/data", *_flatten(lambda one: ["-c", one], settings)],
        "ready": ["line", "{folder}/data/postmaster.pid", 8, "ready"],
        "stop": "SIGINT",
    }


def start_standby(dsn: str, pg_bin: str | None = None) -> tuple[Supervised, str]:
    """A hot standby of a server that `start_postgres` has started, and a DSN like that one's. Raises ServerUnavailable.

    Its programs are those of `pg_bin`, by default ZEPHYR_LAB_PG_BIN, as the lab's are: both must be of one version.
    Its data are a base backup; the password is in its private folder, where the receiver of the log reads it. A query
    that stands in the way of the log is cancelled at once, and not after 30 seconds.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    program = find_postgres(pg_bin or os.environ.get("ZEPHYR_LAB_PG_BIN"))
    told = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    source = make_conninfo(**{name: told[name] for name in ("host", "port", "user")})
    backup = ["-D", "{folder}/data", "-d", source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
    server = Supervised(
        program,
        {
            **_running(program, "max_standby_streaming_delay=0"),
            "environment": {**ENVIRONMENT, "PGPASSWORD": told.get("password", "")},
            "setup": [[program.command("pg_basebackup"), *backup]],
        },
    )
    return server, make_conninfo(**{**told, "host": str(server.folder)})


def start_valkey() -> tuple[Supervised, str]:
    """An empty Valkey on a unix socket; returns the server and its URL. Raises ServerUnavailable, with the remedy."""
    program = find_valkey()
    password = secrets.token_urlsafe(18)
    configuration = (
        'port 0\nunixsocket "{folder}/valkey.sock"\nunixsocketperm 700\ndir "{folder}"\n'
        f'save ""\nappendonly no\nrequirepass {password}\n'
    )
    server = Supervised(
        program,
        {
            "prefix": "zephyr-lab-vk-",
            "bytes": VALKEY_BYTES + (PROGRAMS_BYTES if program.copied else 0),
            "stdin": configuration,
            "server": [program.command(program.path.name), "-"],
            "ready": ["socket", "{folder}/valkey.sock"],
            "stop": "SIGTERM",
        },
    )
    return server, f"unix://:{password}@{quote(str(server.folder))}/valkey.sock"


def _flatten(of: Callable[[str], list[str]], items: list[str]) -> list[str]:
    return [part for item in items for part in of(item)]
