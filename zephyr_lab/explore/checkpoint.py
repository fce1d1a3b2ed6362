"""A search in a file, to stop it and to go on: for which search it is, what was found, and what is left.

The first line is JSON, and says for what it is; the rest is a pickle of plain data. Reading it makes no object of a
class but the lab's own and those of values, so that a file of somebody else's runs no code.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.explore.pieces import Pieces

EVERY_SECONDS = 5.0
FORM = 1

_VALUES = {
    "builtins": {"range", "frozenset", "set", "bytearray", "complex", "slice"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"}, "uuid": {"UUID", "SafeUUID"}, "fractions": {"Fraction"},
    "ipaddress": {"IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface"},
    "psycopg.types.range": {"Range"}, "psycopg.types.multirange": {"Multirange"},
    "collections": {"Counter", "OrderedDict", "deque"},
}  # fmt: skip


_OURS = ("zephyr_lab.explore.", "zephyr_lab.schedule.transcript", "zephyr_lab.functions.structure")
"""Modules of plain data: making an object of theirs starts nothing."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = (
            super().find_class(module, name) if module.startswith(_OURS) or name in _VALUES.get(module, ()) else None
        )
        if found is None or (module.startswith(_OURS) and getattr(found, "__module__", "") != module):
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no class")
        return found


def _read(data: bytes) -> Any:
    """Raises UnpicklingError for what is not plain data."""
    return _Reader(io.BytesIO(data)).load()


@dataclass
class Checkpoint:
    """`path` holds a search, or will; `about` says which one, in JSON: only that one goes on."""

    path: Path
    about: Mapping[str, Any]
    _written: float = field(default_factory=time.monotonic, init=False)

    def read(self) -> Pieces | None:
        """What is there; None without a file. Raises BadInput for another search, for what is no checkpoint, and
        without a folder.
        """
        said = header(self.path)
        if said is None:
            if not self.path.absolute().parent.is_dir():
                raise BadInput(f"there is no folder for the checkpoint {self.path}: make it first")
            return None
        for name, value in self._said().items():
            if said.get(name) != value:
                raise BadInput(
                    f"{self.path} is the checkpoint of another search: {name} is {said.get(name)!r} there, and "
                    f"{value!r} now. Name another file, or delete it to begin anew"
                )
        try:
            pieces = _read(self.path.read_bytes().split(b"\n", 1)[1])
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, TypeError, ValueError) as error:
            raise BadInput(f"{self.path} cannot be read as a checkpoint ({error}): delete it to begin anew") from error
        if not isinstance(pieces, Pieces):
            raise BadInput(f"{self.path} holds no search: delete it to begin anew")
        return pieces

    def write(self, pieces: Pieces, *, at_once: bool = False) -> None:
        """Replaces the file as a whole; else than `at_once`, not more often than every few seconds.

        Raises BadInput where it cannot be written, and for what could not be read again.
        """
        if not at_once and time.monotonic() - self._written < EVERY_SECONDS:
            return
        data = pickle.dumps(pieces)
        try:
            _read(data)
        except pickle.UnpicklingError as error:
            raise BadInput(f"the search cannot be kept in a checkpoint: {error}, which is no plain data") from error
        data = json.dumps(self._said()).encode() + b"\n" + data
        temporary = ""
        try:
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False) as file:
                temporary = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path)
        except OSError as error:
            raise BadInput(f"the checkpoint {self.path} cannot be written: {error.strerror or error}") from error
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink() if temporary else None
        self._written = time.monotonic()

    def _said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(
            json.dumps({"form": FORM, "zephyr_lab": sys.modules["zephyr_lab"].__version__, **self.about})
        )
        return said


def header(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says it is of; None without a file. Raises BadInput for what is no checkpoint."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.readline(1 << 20))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no checkpoint ({error}): name another file, or delete it") from error
    if not isinstance(said, dict) or "form" not in said:
        raise BadInput(f"{path} is no checkpoint: name another file, or delete it")
    return said
