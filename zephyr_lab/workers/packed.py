"""Functions and other values as bytes, for another process: by cloudpickle where it is installed, which takes lambdas,
closures and functions of the program itself; else by pickle, which takes what can be imported by its name.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

from zephyr_lab.errors import BadInput

Dump = Callable[[Any], bytes]


def _dump() -> tuple[Dump, str]:
    """What packs, and how more could be packed."""
    try:
        import cloudpickle
    except ModuleNotFoundError:
        return pickle.dumps, ", or pip install 'zephyr-lab[cluster]' for functions that have no name to be imported by"
    return cloudpickle.dumps, ""


def packed(things: Mapping[str, Any], way_on: str) -> bytes:
    """All of them, in one piece, so that what they share they share there too. Raises BadInput for what cannot travel.

    `way_on`: how to do without.
    """
    dump, more = _dump()
    try:
        return dump(dict(things))
    except Exception as whole:  # whatever an object's own __reduce__ raises
        for name, one in things.items():
            try:
                dump(one)
            except Exception as error:
                raise BadInput(_refusal(name, one, error, f"{way_on}{more}")) from error
        raise BadInput(_refusal(" and ".join(things), None, whole, f"{way_on}{more}")) from whole


def _refusal(name: str, one: Any, error: Exception, way_on: str) -> str:
    called = getattr(getattr(one, "func", one), "__qualname__", "")
    about = f"{name} ({called})" if called and called != name else name
    return (
        f"{about} cannot be sent to a worker ({type(error).__name__}: {error}): let it hold no connection, lock, file "
        f"or lab, but take what it needs as parameters; {way_on}"
    )


def unpacked(data: bytes) -> dict[str, Any]:
    """As they were packed. Raises BadInput if this worker cannot import what they name."""
    try:
        things: dict[str, Any] = pickle.loads(data)
    except (ModuleNotFoundError, AttributeError) as error:
        raise BadInput(
            f"a worker cannot import what was sent to it ({error}): install it there, or say "
            "cloudpickle.register_pickle_by_value(module) before, so that its code travels too"
        ) from error
    return things


def digest(function: Callable[..., Any]) -> str:
    """A function's name, and a word that is another one when its code, its defaults or its arguments are."""
    inner = getattr(function, "func", function)  # of a partial
    about = [getattr(function, "args", ()), getattr(function, "keywords", {}), getattr(inner, "__defaults__", ())]
    text = re.sub(r"0x[0-9a-f]+", "", repr(about)) + _of_code(getattr(inner, "__code__", None))
    name = getattr(inner, "__qualname__", type(inner).__name__)
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _of_code(code: CodeType | None) -> str:
    if code is None:
        return ""

    def text(one: Any) -> str:
        if isinstance(one, CodeType):
            return _of_code(one)
        return repr(sorted(map(repr, one))) if isinstance(one, frozenset) else repr(one)  # of any order

    return f"{code.co_code.hex()} {code.co_names} {[text(one) for one in code.co_consts]}"
