"""A checker's answer: that a function holds, and in what it was run; or the shortest schedule that breaks it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from zephyr_lab.schedule.transcript import Transcript
from zephyr_lab.views.block import Line, block

WIDTH = 112


@dataclass(frozen=True)
class Answer:
    """`right`: the function held; else `transcript` is the shortest run that broke it, if one did.

    In Jupyter it is displayed as words with the timeline below.
    """

    exercise: str
    right: bool
    head: str
    happened: str = ""
    rule: str = ""
    hint: str = ""
    transcript: Transcript | None = None

    @property
    def schedule(self) -> str | None:
        """The schedule that breaks the function, such as `A B B A`."""
        return self.transcript.schedule if self.transcript else None

    def parts(self) -> list[tuple[str, str]]:
        """What is said beside the head, each with its label."""
        parts = [("what happened", self.happened), ("rule broken", self.rule), ("hint", self.hint)]
        return [(label, text) for label, text in parts if text]

    def words(self) -> str:
        """Everything but the timeline."""
        told = [("", f"{self.exercise}: {self.head}"), *((f"{label + ':':<16}", text) for label, text in self.parts())]
        return "\n".join(_filled(label, text) for label, text in told)

    def __str__(self) -> str:
        return self.words() + (f"\n\n{self.transcript}" if self.transcript else "")

    __repr__ = __str__

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(_Words(self))
        if self.transcript is not None:
            display(self.transcript)


@dataclass(frozen=True, repr=False)
class _Words:
    """An answer without its timeline, as Jupyter displays it."""

    of: Answer

    def __repr__(self) -> str:
        return self.of.words()

    def _repr_html_(self) -> str:
        lines = [Line(text, label=label) for label, text in self.of.parts()]
        badge = "right" if self.of.right else "not yet"
        return block(f"{self.of.exercise}: {self.of.head}", lines, badge=badge)


def _filled(label: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=label, subsequent_indent=" " * (len(label) or 2))
