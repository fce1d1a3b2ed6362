"""An exercise in a notebook: by name, on a lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zephyr_lab.errors import BadInput

if TYPE_CHECKING:
    from zephyr_lab.course.answer import Answer
    from zephyr_lab.course.checker import Checker, Learners
    from zephyr_lab.lab import Lab


@dataclass(frozen=True)
class Posed:
    """An exercise on a lab: displays its task, and checks a function."""

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


def exercise(name: str, lab: Lab) -> Posed:
    """An exercise by its name. Raises BadInput, listing the names."""
    from zephyr_lab.course.exercises import EXERCISES  # the explorer: a prediction in the same notebook needs none

    if name not in EXERCISES:
        raise BadInput(f"unknown exercise {name!r}; there are: {', '.join(EXERCISES)}")
    return Posed(EXERCISES[name], lab)
