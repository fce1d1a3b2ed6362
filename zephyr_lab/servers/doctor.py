"""Diagnosis: what is installed, what the lab would use, and what to do if something is missing. Hides passwords."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zephyr_lab.errors import LabError, MissingExtra, ServerUnavailable
from zephyr_lab.extras import needed_by
from zephyr_lab.servers import database
from zephyr_lab.servers.account import server_account
from zephyr_lab.servers.carriers import Program, other_postgres, other_valkey
from zephyr_lab.servers.embedded import Supervised, cache_folder, start_postgres, start_valkey


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: `good` is None for a fact that is neither good nor bad."""

    subject: str
    said: str
    good: bool | None = None


def diagnose() -> Iterator[Finding]:
    """Checks everything the lab needs by using it: starts embedded servers, connects to DSNs."""
    version = platform.python_version()
    yield Finding("Python", f"{version}, {sys.executable}", sys.version_info >= (3, 11))
    yield Finding("machine", f"{platform.system()} {platform.machine()}, temporary folder {_temporary()}")
    yield from _settings()
    yield from _try("servers run as", _account)
    dsn, url = os.environ.get("ZEPHYR_LAB_PG_DSN"), os.environ.get("ZEPHYR_LAB_REDIS_URL")
    yield from _try("PostgreSQL", lambda: _external_postgres(dsn) if dsn else _own_postgres())
    yield from _try("Redis", lambda: _external_redis(url) if url else _own_valkey())


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return "none that can be written to"


def _settings() -> Iterator[Finding]:
    shown: dict[str, Callable[[str], str]] = {
        "ZEPHYR_LAB_PG_DSN": database.without_password,
        "ZEPHYR_LAB_PG_BIN": str,
        "ZEPHYR_LAB_REDIS_URL": _redis_without_password,
    }
    for name, safe in shown.items():
        value = os.environ.get(name)
        if not value:
            yield Finding(name, "not set")
            continue
        try:
            yield Finding(name, safe(value))
        except MissingExtra:
            yield Finding(name, "set, and cannot be read: see below", good=False)
        except ServerUnavailable:
            yield Finding(name, "set, and malformed: see below", good=False)


@needed_by("ZEPHYR_LAB_REDIS_URL")
def _redis_without_password(url: str) -> str:
    from zephyr_lab.servers import keyvalue

    return keyvalue.url_without_password(url)


def _try(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        with needed_by(subject):
            yield from look()
    except MissingExtra as error:
        yield Finding(subject, str(error))
    except LabError as error:
        yield Finding(subject, str(error), good=False)
        if isinstance(error, database.Pooled):
            yield Finding("", "`zephyr-lab serve` works behind it, in transaction mode too: it prepares no statements")


def _account() -> Iterator[Finding]:
    account = server_account()
    why = "ourselves" if account.uid is None else "PostgreSQL does not run as root"
    yield Finding("servers run as", f"{account.name} ({why})", good=True)


def _own_postgres() -> Iterator[Finding]:
    server, dsn = start_postgres(os.environ.get("ZEPHYR_LAB_PG_BIN"))
    try:
        facts = database.inspect(dsn, ours=True)
        yield Finding("PostgreSQL", f"{facts.version_name}, the lab's own, started and stopped just now", good=True)
        yield from _programs(server, other_postgres(server.program))
        if server.password:
            yield Finding("", f"copied from a cluster kept in {cache_folder()}")
        database.require_supported(facts.version, facts.where)
    finally:
        server.close()


def _programs(server: Supervised, others: list[Program]) -> Iterator[Finding]:
    program = server.program
    copied = ", copied, since that is closed to the account that servers run as" if program.copied else ""
    yield Finding("", f"programs: {program.carrier}, in {program.path.parent}{copied}")
    for other in others:
        yield Finding("", f"would do as well: {other.carrier}, {other.version}, in {other.path.parent}")


def _external_postgres(dsn: str) -> Iterator[Finding]:
    facts = database.inspect(dsn)
    yield Finding("PostgreSQL", f"{facts.version_name}, yours, role {facts.role}, database {facts.database}", good=True)
    if facts.may_create_schema:
        yield Finding("", "may create a schema: the lab works in zephyr_lab_<id> and removes it", good=True)
    else:
        grant = f"GRANT CREATE ON DATABASE {facts.database} TO {facts.role}"
        yield Finding("", f"may not create a schema, and the lab works in one of its own: {grant}", good=False)
    if not facts.may_set_deadlock_timeout:
        yield Finding(
            "", "may not set deadlock_timeout: a deadlock takes the server's own time, and its victim may vary"
        )


def _own_valkey() -> Iterator[Finding]:
    from zephyr_lab.servers import keyvalue

    server, url = start_valkey()
    try:
        facts = keyvalue.inspect(url)
        yield Finding("Redis", f"{facts.version_name}, the lab's own, started and stopped just now", good=True)
        yield from _programs(server, other_valkey(server.program))
    finally:
        server.close()


def _external_redis(url: str) -> Iterator[Finding]:
    from zephyr_lab.servers import keyvalue

    facts = keyvalue.inspect(url)
    yield Finding("Redis", f"{facts.version_name}, yours, at {facts.where}: keys zephyr_lab_<id>:* only", good=True)
