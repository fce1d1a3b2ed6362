"""An exercise in a notebook: by name, on a lab."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import BadInput
from zephyr_lab.shipped import shipped

if TYPE_CHECKING:
    from zephyr_lab.course.answer import Answer
    from zephyr_lab.course.checker import Checker, Learners
    from zephyr_lab.lab import Lab


@dataclass(frozen=True)
class Posed:
    """An exercise on a lab: displays its task, and checks a function.

    In Jupyter and on the site hints, each giving away more, and a solution are behind a click.
    """

    checker: Checker
    lab: Lab

    def check(self, function: Learners) -> Answer:
        """Runs a function in every order; the answer says what broke it, or what was run. Its prints are not shown.

        Raises BadInput if `function` is not a function.
        """
        if not callable(function):
            raise BadInput(f"check() takes your function itself, such as check(book), and was given {function!r}")
        return self.checker.check(self.lab, function)

    def __str__(self) -> str:
        return f"{self.checker.name}: {self.checker.title}\n\n{self.checker.task}\n\n{self.checker.details()}"

    __repr__ = __str__

    def hints(self) -> list[str]:
        """Each gives away more than the one before."""
        return list(_helps()[self.checker.name]["hints"])

    def solution(self) -> str:
        """Code that `check` takes; there are others."""
        return str(_helps()[self.checker.name]["solution"]).strip("\n")

    def _repr_html_(self) -> str:
        from zephyr_lab.views.block import Line, block, folded

        of = self.checker
        more = [folded(f"Hint {number}", hint) for number, hint in enumerate(self.hints(), start=1)]
        more.append(folded("A solution", self.solution(), code=True))
        checked = folded("How it is checked", of.details(), code=True)
        return block(f"{of.name}: {of.title}", [Line(" ".join(of.task.split()))], more=[checked, *more])


def exercise(name: str, lab: Lab) -> Posed:
    """An exercise by its name. Raises BadInput, listing the names."""
    from zephyr_lab.course.exercises import EXERCISES  # the explorer: a prediction in the same notebook needs none

    if name not in EXERCISES:
        raise BadInput(f"unknown exercise {name!r}; there are: {', '.join(EXERCISES)}")
    return Posed(EXERCISES[name], lab)


@cache
def _helps() -> dict[str, dict[str, Any]]:
    told = tomllib.loads(shipped("data", "exercises.toml").read_text(encoding="utf-8"))["exercise"]
    return {one["name"]: one for one in told}
