"""Questions about isolation and where the course answers them: data/questions.toml, searched, and as a page."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.shipped import shipped

RANKED = 25
COMMAND = "zephyr-lab questions --format markdown > notebooks/questions.md"

_PAGE = f"""# The questions

Whoever works with transactions asks some of these sooner or later. The first {RANKED} are ranked, by how often they are
asked in public and what a wrong answer costs. Each is answered by a cell that runs on the real server, under the
heading that is named. Words are in [the glossary](glossary.md).

"""
_HEAD = "| | the question | the answer | the cell |\n|---|---|---|---|\n"
_ALSO = "\n## Also asked\n\n"


@dataclass(frozen=True)
class Place:
    """A heading in a notebook. `evidence` is printed, or asserted, by a code cell under it."""

    notebook: str
    heading: str
    evidence: str

    @property
    def link(self) -> str:
        """A Markdown link, for a page beside the notebooks; the anchor is GitHub's name of the heading."""
        name = re.sub(r"[^\w\- ]", "", self.heading.lower()).replace(" ", "-")
        return f"[{self.notebook}: {self.heading}]({self.notebook}.ipynb#{name})"


@dataclass(frozen=True)
class Question:
    """A question in the words of those who ask it, and its answer in a sentence; `places[0]` is where to look.

    `asked_in` names public threads, by repository and number or by site; it is empty if none was noted.
    """

    number: int
    asked: str
    answer: str
    places: tuple[Place, ...]
    asked_in: str = ""

    def __str__(self) -> str:
        where = dict.fromkeys(f"   {place.notebook}: {place.heading}" for place in self.places)
        return "\n".join([f"{self.number:2} {self.asked}", f"   {self.answer}", *where])


def _question(fields: dict[str, Any]) -> Question:
    return Question(places=tuple(Place(**place) for place in fields.pop("places")), **fields)


def _read() -> tuple[Question, ...]:
    text = shipped("data", "questions.toml").read_text(encoding="utf-8")
    return tuple(map(_question, tomllib.loads(text)["question"]))


QUESTIONS: tuple[Question, ...] = _read()


def find(words: Iterable[str]) -> list[Question]:
    """The questions that contain each of the words, ignoring case; without words all. Raises BadInput for none."""
    wanted = [word.casefold() for word in words]
    found = [one for one in QUESTIONS if all(word in str(one).casefold() for word in wanted)]
    if not found:
        raise BadInput(f"no question has {' '.join(wanted)!r} in it: try one word, such as 'deadlock' or '40001'")
    return found


def to_markdown(questions: Iterable[Question] = QUESTIONS) -> str:
    """The index page, notebooks/questions.md, with links relative to that folder."""
    questions = list(questions)
    ranked = "".join(_row(one) for one in questions if one.number <= RANKED)
    others = "".join(_row(one) for one in questions if one.number > RANKED)
    return _PAGE + _HEAD + ranked + (_ALSO + _HEAD + others if others else "")


def _row(one: Question) -> str:
    where = "; ".join(dict.fromkeys(place.link for place in one.places))
    return f"| {one.number} | {one.asked} | {one.answer} | {where} |\n"
