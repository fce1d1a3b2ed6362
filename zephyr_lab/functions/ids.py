"""Random ids and tokens of sessions: the same in every run of a schedule, and different between sessions.

UUIDs of versions 1 and 4, and `secrets.token_bytes`, `token_hex` and `token_urlsafe`. Random numbers are not fixed,
and are refused as nondeterminism: they choose a branch, and only one branch would be explored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import types
import uuid
from collections.abc import Callable, Iterator

from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.turn import Turn, current_session


@contextlib.contextmanager
def ids_are_the_sessions() -> Iterator[None]:
    """Patches what these functions call, since models keep references to them: `default=uuid.uuid4`."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(patched(uuid, "os", _os_of_uuid))
        if getattr(uuid, "_generate_time_safe", None):
            patches.enter_context(patched(uuid, "_generate_time_safe", _generate_time_safe))
        yield


def _next(turn: Turn, size: int) -> bytes:
    turn.made_up += 1
    return hashlib.shake_256(f"{turn.made_up} {turn.name}".encode()).digest(size)


def _os_of_uuid(real: types.ModuleType) -> types.ModuleType:
    """The module as `uuid` sees it; other modules keep the real one."""
    seen = types.ModuleType("os")
    vars(seen).update(vars(real))
    vars(seen)["urandom"] = _urandom
    return seen


def _urandom(size: int) -> bytes:
    return os.urandom(size) if (turn := current_session()) is None else _next(turn, size)


def _generate_time_safe(real: Callable[[], tuple[bytes, int | None]]) -> Callable[[], tuple[bytes, int | None]]:
    def generate_time_safe() -> tuple[bytes, int | None]:
        if (turn := current_session()) is None:
            return real()
        made = bytearray(_next(turn, 16))
        made[6], made[8] = 0x10 | made[6] & 0x0F, 0x80 | made[8] & 0x3F  # version 1, variant of RFC 9562
        return bytes(made), None

    return generate_time_safe


def tokens_are_the_sessions(real: Callable[..., bytes]) -> Callable[..., bytes]:
    """Replaces secrets.token_bytes, wherever it has been imported; the other tokens are derived from it."""

    def token_bytes(nbytes: int | None = None) -> bytes:
        if (turn := current_session()) is None:
            return real(nbytes)
        return _next(turn, secrets.DEFAULT_ENTROPY if nbytes is None else nbytes)

    return token_bytes
