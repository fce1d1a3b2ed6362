"""A service, described in Python or in a file: how it is started, its requests, its setup and invariant.

command = "node server.js"
ready = "/healthz"
setup = "schema.sql"
invariant = "select booked <= 1 from slots"

[env]
DB = "{dsn}"

[requests]
book = "POST /orders"
cancel = {method = "POST", path = "/orders/1/cancel", json = {reason = "late"}}

[commands.expire]
command = "./expire --now"
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zephyr_lab.errors import BadInput
from zephyr_lab.wire.http import HttpRequest, Verbs, method_and_path


class Starts(Protocol):
    """The part of a lab that a description needs."""

    def service(self, command: Any, **options: Any) -> Verbs: ...
    def command(self, command: Any, **options: Any) -> Any: ...


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_words(value: Any) -> bool:
    return bool(value) and (isinstance(value, str) or (isinstance(value, list) and all(map(_is_text, value))))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _are_integers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)


def _is_plain_table(value: Any) -> bool:
    return isinstance(value, dict) and all(type(one) in (str, int, float) for one in value.values())


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


# By key, the types that its value may have, and their name in messages.
Kind = tuple[Callable[[Any], bool], str]
_TEXT, _WORDS = (_is_text, "a string"), (_is_words, "a command: a string or a list of strings")
_TRUTH, _NUMBERS = (_is_truth, "true or false"), (_are_integers, "a list of integers, such as [409]")
_TEXTS = (_is_words, "a string or a list of strings")
_VARIABLES, _TABLE = (_is_plain_table, "a table of strings and numbers"), (_is_table, "a table")
_JSON = (_is_json, "what JSON can hold")

_SERVICE: Mapping[str, Kind] = {
    "command": _WORDS, "cwd": _TEXT, "env": _VARIABLES, "ready": _TEXT, "redis": _TRUTH, "reset": _TEXT,
    "ready_seconds": (_is_number, "a positive number of seconds"), "refusals": _NUMBERS, "setup": _TEXTS,
    "invariant": _TEXT, "requests": _TABLE, "commands": _TABLE,
}  # fmt: skip
_REQUEST: Mapping[str, Kind] = {"method": _TEXT, "path": _TEXT, "headers": _VARIABLES, "json": _JSON}
_COMMAND: Mapping[str, Kind] = {
    "command": _WORDS, "cwd": _TEXT, "env": _VARIABLES, "redis": _TRUTH, "input": _TEXT, "refusals": _NUMBERS,
    "kept": _TRUTH, "line": _JSON,
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """A service: `options`, `command` with them, are as `lab.service` takes them.

    `requests` are by name, each in short form (`POST /orders`) or as `method`, `path`, `headers` and `json`; `commands`
    are as `lab.command` takes them, with the `line` that a kept one is told. `setup` and `invariant` are as
    `lab.explore` takes them. `file` is where it was read.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    requests: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    setup: Sequence[str] | str = ()
    invariant: str | None = None
    file: str = "the description"

    @classmethod
    def read(cls, path: str | Path) -> Description:
        """Reads a file in TOML; paths in it are relative to its folder. Raises BadInput, with the file and the key."""
        path = Path(path)
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"{path} is no TOML: {error}") from None
        return _Reader(str(path), path.absolute().parent).description(told)

    @property
    def names(self) -> list[str]:
        """The names of requests and commands."""
        return [*self.requests, *self.commands]

    def request(self, service: Verbs, name: str) -> HttpRequest:
        """A request by its name, to the service when it runs. Raises BadInput."""
        self.check([name], self.requests)
        about = self.requests[name]
        given: Mapping[str, Any] = about if isinstance(about, Mapping) else {}
        if isinstance(about, str):
            given = dict(zip(("method", "path"), method_and_path(about), strict=True))
        return service.request(**{"method": "GET", **given})

    def sessions(self, lab: Starts, wanted: Mapping[str, str]) -> dict[str, Any]:
        """Requests and commands by session, as `lab.explore` takes them, of their names by session.

        The service is started where a request to it is wanted, and ends with the lab. Raises BadInput before anything
        is started, and ServerUnavailable.
        """
        self.check(wanted.values())
        service = lab.service(self) if any(name in self.requests for name in wanted.values()) else None
        return {
            session: self.request(service, name) if service and name in self.requests else self._command(lab, name)
            for session, name in wanted.items()
        }

    def _command(self, lab: Starts, name: str) -> Any:
        about = dict(self.commands[name])
        line = about.pop("line", None)
        command = lab.command(about.pop("command"), **about)
        return command.line(line) if about.get("kept") else command

    def check(self, wanted: Iterable[str], among: Iterable[str] | None = None) -> None:
        """Raises BadInput for a name that is not described, `among` requests, commands or both."""
        known = self.names if among is None else list(among)
        for name in wanted:
            if name not in known:
                there = f"; there are: {', '.join(known)}" if known else ", nor any other"
                raise BadInput(f"{self.file}: no request {name!r} is described{_meant(name, known)}{there}")


class _Reader:
    """Reads one file, in `folder`."""

    def __init__(self, file: str, folder: Path) -> None:
        self._file, self._folder = file, folder

    def description(self, told: dict[str, Any]) -> Description:
        self._check(told, _SERVICE, "")
        requests = {name: self._request(name, one) for name, one in told.pop("requests", {}).items()}
        commands = {name: self._command(name, one) for name, one in told.pop("commands", {}).items()}
        if both := sorted(requests.keys() & commands.keys()):
            raise BadInput(f"{self._file}: {both[0]!r} is both a request and a command: give one another name")
        if "command" not in told and (requests or not commands):
            raise BadInput(f"{self._file}: there is no command to start the service: command = 'node server.js'")
        setup = told.pop("setup", [])
        return Description(
            setup=[self._sql(one) for one in ([setup] if _is_text(setup) else setup)],
            invariant=told.pop("invariant", None), requests=requests, commands=commands, file=self._file,
            options=self._placed(told),
        )  # fmt: skip

    def _request(self, name: str, about: Any) -> str | Mapping[str, Any]:
        where = f"requests.{name}"
        if isinstance(about, str):
            try:
                method_and_path(about)
            except BadInput as error:
                raise BadInput(f"{self._file}: {where}: {error}") from None
            return about
        self._check(about, _REQUEST, where)
        if not about.get("path", "").startswith("/"):
            raise BadInput(f"{self._file}: {where}: it has no path that begins with a slash: path = '/orders'")
        return dict(about)

    def _command(self, name: str, about: Any) -> Mapping[str, Any]:
        where = f"commands.{name}"
        self._check(about, _COMMAND, where)
        if "command" not in about:
            raise BadInput(f"{self._file}: {where}: it has no command to start: command = './expire'")
        if ("line" in about) != bool(about.get("kept")):
            raise BadInput(f"{self._file}: {where}: a command that is kept is told a line, and no other: line = 'go'")
        return self._placed(about)

    def _placed(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """With the folder to run in: the file's, or the one that it names, relative to that."""
        return {**about, "cwd": self._folder / about.get("cwd", "")}

    def _sql(self, text: str) -> str:
        if not text.endswith(".sql"):
            return text
        try:
            return (self._folder / text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or error
            raise BadInput(f"{self._file}: setup: cannot read {self._folder / text}: {said}") from None

    def _check(self, told: Any, known: Mapping[str, Kind], where: str) -> None:
        if not isinstance(told, dict):
            short = ", or in short form 'POST /orders'" if known is _REQUEST else ""
            raise BadInput(f"{self._file}: {where} is a table of {', '.join(known)}{short}; not {told!r}")
        for key, value in told.items():
            place = f"{where}.{key}".lstrip(".")
            if key not in known:
                there = ", ".join(known)
                raise BadInput(f"{self._file}: unknown key {place!r}{_meant(key, known)}; there are: {there}")
            fits, what = known[key]
            if not fits(value):
                raise BadInput(f"{self._file}: {place} is {what}, not {value!r}")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
