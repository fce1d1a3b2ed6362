"""Lines of JSON without their digits, commas and blanks, of which few are different, and what each of them tells."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from zephyr_lab.check.arrays import Ints

_NAME = rb'(?:"[A-Za-z_]+")'
_SKELETON = re.compile(
    rb'\{"session":("[A-Za-z_]+")?"type":"(ok|fail|info)""ops":\['
    rb'((?:\["(?:r"' + _NAME + rb"?(?:\[\]|null)?|(?:append|w)\"" + _NAME + rb"?)\])*)\]"
    rb'("t":(null)?"t":(null)?)?\}'
)
_STATUS = {b"ok": 0, b"fail": 1, b"info": 2}
_MOST_SKELETONS = 20_000


class Strange(Exception):
    """The block is not of the usual form."""


class Form(NamedTuple):
    """What the skeleton of a line tells: `session`: letters of its name, -1 for a number; `t0`, `t1`: 0 absent, 1 null,
    2 a number; `names`, `nulls`: how many keys are names, and reads are null."""

    status: int
    session: int
    t0: int
    t1: int
    names: int
    nulls: int


class Skeletons(dict[bytes, int]):
    """The skeletons of lines that were seen, numbered; `forms` has what they tell. Raises Strange for others."""

    def __init__(self) -> None:
        self.forms: list[Form] = []
        self._rows = np.zeros((0, len(Form._fields)), np.int32)

    def __missing__(self, line: bytes) -> int:
        match = _SKELETON.fullmatch(line)
        if not match:
            raise Strange
        session, status, ops, times, no_t0, no_t1 = match.groups()
        nulls = ops.count(b"null]")
        names = (ops.count(b'"') - 2 * ops.count(b'["')) // 2
        t0, t1 = (0 if times is None else 2 if none is None else 1 for none in (no_t0, no_t1))
        self.forms.append(Form(_STATUS[status], -1 if session is None else len(session) - 2, t0, t1, names, nulls))
        self[line] = number = len(self.forms) - 1
        return number

    def of(self, block: bytes) -> Ints:
        """A row for each line of a block: the columns of `Form`."""
        if len(self) > _MOST_SKELETONS:
            self.clear()
            self.forms.clear()
            self._rows = self._rows[:0]
        lines = block.translate(None, b"0123456789, -").split(b"\n")[:-1]
        numbers = list(map(self.__getitem__, lines))
        if len(self._rows) != len(self.forms):
            self._rows = np.array(self.forms, np.int32)
        return self._rows[numbers]
