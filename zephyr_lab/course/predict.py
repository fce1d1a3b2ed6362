"""A question to the reader, before the cell that answers it.

In Jupyter, and on the site, the reader chooses an answer, and is told whether it is right and how many were so far
(`views/prediction`). In batch it neither waits nor changes anything: its text, which a stored notebook keeps, too, is
the question with its answers. The right ones are in `data/predictions.toml`, where a reader of the cell does not see
them; a test looks for the evidence in what the cells below the question show.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import BadInput
from zephyr_lab.extras import or_text
from zephyr_lab.shipped import shipped

if TYPE_CHECKING:
    from zephyr_lab.views.prediction import Question

WIDTH = 100


class Prediction:
    """A question; `choice` is the number of the chosen answer, from 1, or None.

    `answer` is that of the right one, or None where it is not known.
    """

    def __init__(self, question: str, options: Sequence[str]) -> None:
        self.question, self.options = question, tuple(options)
        self.choice: int | None = None
        right = (number for number, option in enumerate(options, start=1) if (question, option) in answers())
        self.answer: int | None = next(right, None)

    def __str__(self) -> str:
        numbered = [f"  {number}  {option}" for number, option in enumerate(self.options, start=1)]
        return "\n".join([*textwrap.wrap(self.question, WIDTH), *numbered])

    __repr__ = __str__

    @or_text
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        # Where no widget can be shown, the text is: in stored notebooks, on pages, in a terminal.
        shown = self.widget()._repr_mimebundle_()
        data = shown[0] if isinstance(shown, tuple) else shown
        return {**(data or {}), "text/plain": str(self)}

    def widget(self) -> Question:
        """It as a widget, whose choices are noted here."""
        from zephyr_lab.views.prediction import Question  # as long to import as a small notebook takes to run

        shown = Question(
            question=self.question, options=list(self.options), answer=self.answer or 0, choice=self.choice or 0
        )

        def choose(change: dict[str, Any]) -> None:
            self.choice = change["new"] or None

        shown.observe(choose, "choice")
        return shown


def predict(question: str, options: Sequence[str]) -> Prediction:
    """Asks the reader to choose one of `options`, as the last expression of a cell.

    Text in backquotes is shown as code. Raises BadInput for fewer than two options, or two that are equal.
    """
    if isinstance(options, str) or len(set(options)) < max(2, len(options)):
        raise BadInput(f"predict({question!r}): give at least two answers, no two of them equal")
    return Prediction(question, options)


@cache
def answers() -> dict[tuple[str, str], str]:
    """The evidence for each right answer of the course's questions, by both as they are worded there."""
    told = tomllib.loads(shipped("data", "predictions.toml").read_text(encoding="utf-8"))["prediction"]
    return {(one["question"], one["answer"]): one["evidence"] for one in told}
