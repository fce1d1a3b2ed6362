"""A checker's answer: that a function holds, and in what it was run; or the shortest schedule that breaks it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from zephyr_lab.schedule.transcript import Transcript

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

    def words(self) -> str:
        """Everything but the timeline."""
        parts = [("", f"{self.exercise}: {self.head}"), ("what happened:  ", self.happened)]
        parts += [("rule broken:    ", self.rule), ("hint:           ", self.hint)]
        return "\n".join(_filled(label, text) for label, text in parts if text)

    def __str__(self) -> str:
        return self.words() + (f"\n\n{self.transcript}" if self.transcript else "")

    __repr__ = __str__

    def _ipython_display_(self) -> None:
        from IPython.display import display

        print(self.words())
        if self.transcript is not None:
            display(self.transcript)


def _filled(label: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=label, subsequent_indent=" " * (len(label) or 2))
