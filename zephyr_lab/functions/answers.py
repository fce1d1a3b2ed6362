"""How the end of a function is interpreted: which results are refusals, and how returned objects are compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from zephyr_lab.errors import REFUSALS, BadInput, sqlstate_among
from zephyr_lab.functions.structure import Incomparable, Parts, Told
from zephyr_lab.functions.values import Compare, told
from zephyr_lab.schedule.transcript import AnswerKind, Result

Refusal = type[BaseException] | str | Callable[[Any], Any]


@runtime_checkable
class Answer(Protocol):
    """An answer with a status, as of a request or a command; `refused` is by which refusal it ended, or ''."""

    refused: str

    @property
    def failed(self) -> bool:
        """Whether the status is an error's."""
        ...

    def parts(self) -> tuple[str, Any]:
        """The status, such as `HTTP 201`, and the content, by which it is compared."""
        ...


@dataclass(frozen=True)
class Ending:
    """How a session ended: `said`, what it returned or raised, and `refusal`, the refusal by which it ended, or ''.

    `trouble` is why `said` cannot be compared, as a sentence, or ''.
    """

    said: Told | None = None
    refusal: str = ""
    trouble: str = ""

    def result(self, kind: AnswerKind, otherwise: str) -> Result:
        """It as part of an outcome; `otherwise` represents an end that was not reached."""
        tag = "RAISE" if kind is AnswerKind.RAISED else "RETURN"
        return Result(tag, (kind.value,), ((self.said or otherwise,),))  # type: ignore[arg-type]  # a Told, compared as a value is


@dataclass(frozen=True)
class Answers:
    """`compare` maps a class to a function that turns its objects into plain data.

    A function that ends in one of `refusals` was refused, as by 40001, and had no effect: exception classes, SQLSTATEs,
    or predicates on the returned value. Raises BadInput for anything else.
    """

    compare: Compare = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()

    def __post_init__(self) -> None:
        for one in self.refusals:
            if isinstance(one, type) and not issubclass(one, BaseException):
                raise BadInput(f"a refusal is an exception, and {one.__name__} is none")
            if isinstance(one, str) and not re.fullmatch(r"[0-9A-Z]{5}", one):
                raise BadInput(f"a refusal is named by its SQLSTATE, as in '23505', not {one!r}")
            if not (isinstance(one, type | str) or callable(one)):
                raise BadInput(
                    f"a refusal is an exception, an SQLSTATE, or a function of what is returned, not {one!r}"
                )
        for kind, how in self.compare.items():
            if not (isinstance(kind, type) and callable(how)):
                raise BadInput(f"compare= has classes and functions, as in {{Ticket: vars}}, not {kind!r}: {how!r}")

    def read(self, end: Any, raised: BaseException | None) -> Ending:
        """Reads what a session returned or raised, in its thread, before others may change it."""
        refusal = ""
        try:
            refusal = self._refusal(end, raised)
            if isinstance(end, Answer):
                status, content = end.parts()
                refusal = refusal or end.refused
                return Ending(Parts(status, (told(content, self.compare),)), refusal)
            return Ending(told(end, self.compare), refusal)
        except Incomparable as error:
            return Ending(None, refusal, str(error))
        except Exception as error:
            what = AnswerKind.RETURNED if raised is None else AnswerKind.RAISED
            said = f"{type(error).__name__}: {error}"
            return Ending(None, refusal, f"what it {what} cannot be read: {said}; return plain data")

    def _refusal(self, returned: Any, raised: BaseException | None) -> str:
        """The refusal: an SQLSTATE, an exception's name, or the returned value as text; '' if it was not refused."""
        if raised is None:
            is_refused = any(not isinstance(one, type | str) and one(returned) for one in self.refusals)
            return f"returned {returned!r}" if is_refused else ""
        states = frozenset(one for one in self.refusals if isinstance(one, str))
        if state := sqlstate_among(REFUSALS | states, raised):
            return state
        kinds = tuple(one for one in self.refusals if isinstance(one, type))
        return next((type(one).__name__ for one in _chain(raised) if isinstance(one, kinds)), "")


def _chain(error: BaseException | None) -> list[BaseException]:
    """An exception and its causes, as `sqlstate_among` follows them."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
