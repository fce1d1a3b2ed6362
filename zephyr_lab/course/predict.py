"""A question to the reader, before the cell that answers it.

In Jupyter the reader can choose an answer, and the choice stays visible. In batch it neither waits nor changes
anything: its text, which a stored notebook keeps, too, is the question with its answers.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from zephyr_lab.errors import BadInput

WIDTH = 100


class Prediction:
    """A question; `choice` is the number of the chosen answer, from 1, or None."""

    def __init__(self, question: str, options: Sequence[str]) -> None:
        self.question, self.options = question, tuple(options)
        self.choice: int | None = None

    def __str__(self) -> str:
        numbered = [f"  {number}  {option}" for number, option in enumerate(self.options, start=1)]
        return "\n".join([*textwrap.wrap(self.question, WIDTH), *numbered])

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        # Where no widget can be shown, the text is: in stored notebooks, on pages, in a terminal.
        return {**self.widget()._repr_mimebundle_(), "text/plain": str(self)}

    def widget(self) -> Any:
        """It as an ipywidgets box: the question, a radio button for each answer, a line with the choice."""
        import ipywidgets  # as long to import as a small notebook takes to run; batch needs none of it

        question = ipywidgets.HTML(_as_html(self.question))
        answers = [(f"{number}  {option}", number) for number, option in enumerate(self.options, start=1)]
        buttons = ipywidgets.RadioButtons(options=answers, value=self.choice, layout={"width": "max-content"})
        noted = ipywidgets.HTML(self._noted())

        def choose(change: dict[str, Any]) -> None:
            self.choice = change["new"]
            noted.value = self._noted()

        buttons.observe(choose, "value")
        return ipywidgets.VBox([question, buttons, noted])

    def _noted(self) -> str:
        return "" if self.choice is None else f"Your prediction: <b>{self.choice}</b>. Run the next cell, and compare."


def predict(question: str, options: Sequence[str]) -> Prediction:
    """Asks the reader to choose one of `options`, as the last expression of a cell.

    Text in backquotes is shown as code. Raises BadInput for fewer than two options, or two that are equal.
    """
    if isinstance(options, str) or len(set(options)) < max(2, len(options)):
        raise BadInput(f"predict({question!r}): give at least two answers, no two of them equal")
    return Prediction(question, options)


def _as_html(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
