"""`zephyr-lab questions`: what people ask about isolation, and where the course answers it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class QuestionsFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"


def questions(
    words: Annotated[list[str] | None, typer.Argument(help="Only questions with these words.")] = None,
    format: Annotated[QuestionsFormat, typer.Option(help="How to print them.")] = QuestionsFormat.TEXT,
) -> None:
    """What people ask about isolation: each with an answer, and the notebook and heading of the cell that shows it."""
    from zephyr_lab.course.questions import find, to_markdown

    found = find(words or ())
    print("\n\n".join(map(str, found)) if format is QuestionsFormat.TEXT else to_markdown(found).rstrip("\n"))
