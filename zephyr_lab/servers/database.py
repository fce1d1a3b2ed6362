"""A PostgreSQL to work on: its facts, and the lab's own schema in it.

The lab never touches anything but its schema `zephyr_lab_<id>`: every connection is verified, before its first
statement, to be in that schema and to stay there. A `janitor.py` process drops the schema when the lab is closed or
its process dies, in whatever way; an embedded server is removed as a whole and needs none.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.servers.bounds import Bounds
from zephyr_lab.servers.janitor import Janitor

OLDEST = 13
CONNECT_SECONDS = 5

SESSION_SETTINGS = {
    "client_encoding": "UTF8",
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "synchronous_commit": "off",  # as fast as fsync=off, without changing the server's setting
    "jit": "off",
    # An external server may have other defaults, and each of them would change a transcript.
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "client_min_messages": "notice",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
}
ISOLATIONTESTER_DATABASE = "isolation_regression"
ISOLATIONTESTER_SETTINGS = {"timezone": "PST8PDT", "datestyle": "Postgres, MDY", "intervalstyle": "postgres_verbose"}
# Which backend responds, where its statements run, and where they would run after RESET or DISCARD.
_PLACE = """
select pg_catalog.pg_backend_pid(), setting, reset_val from pg_catalog.pg_settings where name = 'search_path'"""
_REMEDY = (
    "Nothing was done. Name PostgreSQL itself in ZEPHYR_LAB_PG_DSN, by the host and port that the pooler has for it, "
    "or unset it to use the lab's own"
)
_SECRET = re.compile("pass|secret|scram")  # password, sslpassword, passfile, oauth_client_secret, scram_client_key ...
_SCHEMAS_OF_OTHERS = """
select nspname from pg_catalog.pg_namespace
where nspname not like 'pg\\_%' and nspname <> 'information_schema' order by 1"""
# Variables of libpq that no DSN can override, or that must not override a DSN of ours.
_FROM_ENVIRONMENT = ("PGTZ", "PGDATESTYLE", "PGGEQO", "PGOPTIONS")


@dataclass(frozen=True)
class ServerFacts:
    """A PostgreSQL's version and settings, and the rights of this role.

    `where` is the DSN without its password, `address` the host that responded.
    """

    where: str
    address: dict[str, str]
    version: int
    role: str
    database: str
    may_create_schema: bool
    may_set_deadlock_timeout: bool
    is_superuser: bool
    in_recovery: bool

    @property
    def version_name(self) -> str:
        return f"PostgreSQL {self.version // 10000}.{self.version % 10000}"


class Pooled(ServerUnavailable):
    """A pooler, or another proxy, is where PostgreSQL should be."""


def without_password(dsn: str) -> str:
    """A DSN that may be shown: key=value form, without password. Raises ServerUnavailable if it is malformed."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # libpq's own message quotes the string, and the password in it.
        raise ServerUnavailable(
            "the DSN is malformed: write postgresql://user:password@host:5432/database, with special characters "
            "percent-encoded, or host=... user=... password=... dbname=..."
        ) from None
    parts = {name: value for name, value in parts.items() if not _SECRET.search(name)}
    # A password with a bare `@` or `/` in a URL ends up in the host, the port or the database's name.
    misplaced = "@" in f"{parts.get('host', '')}{parts.get('dbname', '')}"
    if misplaced or not re.fullmatch(r"[\d,]*", str(parts.get("port", ""))):
        raise ServerUnavailable(
            "the DSN's parts are not where they belong: percent-encode special characters of the password "
            "(`@` is %40, `/` is %2F, `:` is %3A)"
        )
    return make_conninfo("", **parts)


@contextlib.contextmanager
def environment_for(ours: bool) -> Iterator[None]:
    """Hides libpq's variables that would change what the lab measures; for an embedded server all of them."""
    hidden = [name for name in os.environ if name in _FROM_ENVIRONMENT or (ours and name.startswith("PG"))]
    kept = {name: os.environ.pop(name) for name in hidden}
    try:
        yield
    finally:
        os.environ.update(kept)


def connect(dsn: str, **settings: str) -> psycopg.Connection:
    """A connection (autocommit) to an external server, by libpq's environment. Raises ServerUnavailable."""
    where = without_password(dsn)
    try:
        return psycopg.connect(with_options(_with_timeout(dsn), settings), autocommit=True)
    except psycopg.OperationalError as error:
        if "startup parameter" in str(error):  # PgBouncer's own text, which is never translated
            raise Pooled(f"{where} is a pooler that refuses the lab's settings. {_REMEDY}") from None
        raise ServerUnavailable(_why_refused(dsn, where, error.pgconn)) from None
    except (psycopg.Error, ValueError) as error:
        raise ServerUnavailable(f"the DSN of {where or 'the server'} is not usable: {error}") from None


def inspect(dsn: str, *, ours: bool = False) -> ServerFacts:
    """Connects once and reads the facts. Raises ServerUnavailable: unreachable, wrong password, too old, malformed."""
    where = without_password(dsn)
    with environment_for(ours):
        connection = connect(dsn, search_path="pg_catalog")
    with contextlib.closing(connection):
        verify(connection.pgconn, "pg_catalog", where)
        version = connection.pgconn.server_version
        require_supported(version, where)
        settable = (
            "has_parameter_privilege(current_user, 'deadlock_timeout', 'SET')" if version >= 150000 else "rolsuper"
        )
        row = connection.execute(
            f"select current_user, current_database(), has_database_privilege(current_database(), 'CREATE'), "
            f"rolsuper or {settable}, rolsuper, pg_is_in_recovery() from pg_roles where rolname = current_user"
        ).fetchone()
        address = {name: str(getattr(connection.info, name)) for name in ("host", "hostaddr", "port")}
    assert row is not None
    return ServerFacts(where, {name: value for name, value in address.items() if value}, version, *row)


def verify(connection: pq.abc.PGconn, schema: str, where: str) -> None:
    """Verifies that statements run in `schema`, now and after any transaction, RESET or DISCARD; changes nothing.

    Raises ServerUnavailable if they do not: behind a pooler, which may switch backends between transactions, and does
    not pass on startup options.
    """
    where = where or "the default address"
    result = connection.exec_(_PLACE.encode())
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise ServerUnavailable(f"{where} does not say where statements run: {_told(result)}. {_REMEDY}")
    pid, now, always = (decoded(result.get_value(0, place)) for place in range(3))
    if int(pid) != connection.backend_pid:
        raise Pooled(
            f"{where} is a pooler, or another proxy that does not give a connection a server process of its own: the "
            f"lab cannot tell whose statements run where. {_REMEDY}"
        )
    if (now, always) != (schema, schema):
        raise Pooled(
            f"{where} does not keep the lab's search_path (a pooler that ignores startup options?): statements would "
            f"run in {always if now == schema else now!r}. {_REMEDY}"
        )


def _told(result: pq.abc.PGresult) -> str:
    return decoded(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)) or "no answer"


def decoded(raw: bytes | memoryview | None) -> str:
    """The server's message as text, whatever its encoding; '' for none."""
    return bytes(raw or b"").decode(errors="replace")


def with_options(dsn: str, settings: Mapping[str, str]) -> str:
    """The DSN with settings for the startup message, which come last and override its own."""
    if not settings:
        return dsn
    escaped = {name: value.replace("\\", "\\\\").replace(" ", "\\ ") for name, value in settings.items()}
    ours = [f"-c {name}={value}" for name, value in escaped.items()]
    theirs = str(conninfo_to_dict(dsn).get("options") or "")
    return make_conninfo(dsn, options=" ".join([theirs, *ours]).strip())


def require_supported(version: int, where: str) -> None:
    """Raises ServerUnavailable for a server older than 13; `version` as libpq gives it (130004 is 13.4)."""
    if version < OLDEST * 10000:
        major = version // 10000 if version >= 100000 else f"{version // 10000}.{version // 100 % 100}"
        raise ServerUnavailable(
            f"the server at {where or 'the default address'} is PostgreSQL {major}; the lab needs {OLDEST} or newer: "
            "name another in ZEPHYR_LAB_PG_DSN or ZEPHYR_LAB_PG_BIN, or unset both to use the lab's own"
        )


def _with_timeout(dsn: str) -> str:
    return dsn if "connect_timeout" in conninfo_to_dict(dsn) else make_conninfo(dsn, connect_timeout=CONNECT_SECONDS)


def _why_refused(dsn: str, where: str, connection: pq.abc.PGconn | None) -> str:
    """Why a connection failed, by the connection's state: libpq's text is in the server's language."""
    where = where or "the default address"
    if connection is not None and connection.needs_password:
        return f"{where} asks for a password, and the DSN has none: add password=..."
    if connection is not None and connection.used_password:
        return f"{where} refused the user name and password: check both"
    ping = pq.PGconn.ping(_with_timeout(dsn).encode())
    if ping == pq.Ping.OK:
        return f"{where} is a running PostgreSQL that refused this connection: check user, database and pg_hba.conf"
    if ping == pq.Ping.REJECT:
        return f"{where} is starting up or shutting down: try again in a moment"
    if not dsn:
        return f"no PostgreSQL answers at {where}: name a server by --dsn, ZEPHYR_LAB_PG_DSN or libpq's PGHOST"
    return f"no PostgreSQL answers at {where}: check host and port, or unset ZEPHYR_LAB_PG_DSN to use the lab's own"


class Database:
    """The lab's schema on a server, and connections into it.

    An `external` server stays, and a janitor process removes the schema. Raises ServerUnavailable if the role may not
    create a schema.
    """

    def __init__(self, dsn: str, *, external: bool) -> None:
        self._external = external
        self.facts = inspect(dsn, ours=not external)
        if self.facts.in_recovery:
            raise ServerUnavailable(f"{self.facts.where} is a read-only standby: name its primary instead")
        if not self.facts.may_create_schema:
            raise ServerUnavailable(
                f"role {self.facts.role} may not create a schema in database {self.facts.database}, and the lab works "
                f"in a schema of its own: GRANT CREATE ON DATABASE {self.facts.database} TO {self.facts.role}"
            )
        self.schema = f"zephyr_lab_{secrets.token_hex(6)}"
        # The verified host, of several or behind one name: another one may be a different server.
        self._dsn = make_conninfo(_with_timeout(dsn), **self.facts.address)
        janitor = Janitor({"dsn": self._dsn, "schema": self.schema}) if external else None
        self._finalizer = weakref.finalize(self, janitor.close) if janitor else None
        self.bounds: Bounds | None = None  # none on an embedded server
        try:
            with self.connect() as connection:
                if external:
                    self.bounds = Bounds(name for (name,) in connection.execute(_SCHEMAS_OF_OTHERS))
                connection.execute(sql.SQL("create schema {}").format(sql.Identifier(self.schema)))
        except BaseException:
            self.close()
            raise

    @property
    def is_embedded(self) -> bool:
        """Whether the server was started by the lab, on this machine."""
        return not self._external

    def conninfo(self, session: str, **settings: str) -> str:
        """A DSN, password included, for a session in the lab's schema with the lab's settings."""
        wanted = {**SESSION_SETTINGS, "search_path": self.schema, **settings}
        if self.facts.is_superuser:
            wanted["lc_messages"] = "C"
        # Settings of the startup message override those of roles and databases.
        return make_conninfo(with_options(self._dsn, wanted), application_name=f"{self.schema} {session}"[:63])

    def open(self, session: str, **settings: str) -> pq.abc.PGconn:
        """A bare libpq connection into the lab's schema. Raises ServerUnavailable."""
        return self._open(self.conninfo(session, **settings), session)

    def _open(self, conninfo: str, session: str, *, in_schema: bool = True) -> pq.abc.PGconn:
        with environment_for(self.is_embedded):
            connection = pq.PGconn.connect(conninfo.encode())
        if connection.status != pq.ConnStatus.OK:
            reason = connection.get_error_message().strip()
            connection.finish()
            raise ServerUnavailable(f"session {session} could not connect to {self.facts.where}: {reason}")
        if in_schema:
            self.verify(connection)
        return connection

    def verify(self, connection: pq.abc.PGconn) -> None:
        """Ends the connection and raises ServerUnavailable unless its statements run in the lab's schema."""
        try:
            verify(connection, self.schema, self.facts.where)
        except BaseException:
            connection.finish()
            raise

    def connect(self, session: str = "lab") -> psycopg.Connection:
        """An ordinary psycopg connection (autocommit) in the lab's schema. Raises ServerUnavailable."""
        try:
            with environment_for(self.is_embedded):
                connection = psycopg.connect(self.conninfo(session), autocommit=True)
        except psycopg.OperationalError as error:
            raise ServerUnavailable(f"could not connect to {self.facts.where}: {str(error).strip()}") from None
        self.verify(connection.pgconn)
        return connection

    async def connect_async(self, session: str = "lab") -> psycopg.AsyncConnection:
        """The same for asyncio. Raises ServerUnavailable."""
        try:
            with environment_for(self.is_embedded):
                connection = await psycopg.AsyncConnection.connect(self.conninfo(session), autocommit=True)
        except psycopg.OperationalError as error:
            raise ServerUnavailable(f"could not connect to {self.facts.where}: {str(error).strip()}") from None
        self.verify(connection.pgconn)
        return connection

    def open_as_isolationtester(self, spec: str, session: str) -> pq.abc.PGconn:
        """A connection as in PostgreSQL's own test run; on an external server it is in the lab's schema."""
        settings = ISOLATIONTESTER_SETTINGS | ({"lc_messages": "C"} if self.facts.is_superuser else {})
        if not self.is_embedded:
            settings["search_path"] = self.schema
        database = {"dbname": ISOLATIONTESTER_DATABASE} if self.is_embedded else {}
        # Some of PostgreSQL's specs find each other's sessions by this name.
        name = f"isolation/{spec}/{session}"
        conninfo = make_conninfo(with_options(self._dsn, settings), application_name=name[:63], **database)
        return self._open(conninfo, session, in_schema=not self.is_embedded)

    def make_isolationtester_database(self, extensions: Sequence[str] = ()) -> None:
        """Makes the database of `open_as_isolationtester` anew, with extensions, where the server is ours.

        On an external one the lab's schema is opened to all, as `public` is: specs switch roles. Raises BadInput for an
        extension there, or one that the server does not have.
        """
        if extensions and not self.is_embedded:
            raise BadInput(
                f"extensions ({', '.join(extensions)}) are made on a server of the lab's own only: leave out --dsn and "
                "unset ZEPHYR_LAB_PG_DSN; or have them made in that database, in pg_catalog, and do not name them here"
            )
        with self.connect() as connection:
            if self.is_embedded:
                connection.execute(f"drop database if exists {ISOLATIONTESTER_DATABASE} with (force)")
                connection.execute(f"create database {ISOLATIONTESTER_DATABASE}")
                self._make_extensions(extensions)
            else:
                connection.execute(sql.SQL("grant usage on schema {} to public").format(sql.Identifier(self.schema)))

    def _make_extensions(self, names: Sequence[str]) -> None:
        for name in names:
            made = self.open_as_isolationtester("extensions", name)
            try:
                result = made.exec_(sql.SQL("create extension {} cascade").format(sql.Identifier(name)).as_bytes())
                if result.status != pq.ExecStatus.COMMAND_OK:
                    said = decoded(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY))
                    raise BadInput(f"the extension {name!r} cannot be made on {self.facts.version_name}: {said}")
            finally:
                made.finish()

    def close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
