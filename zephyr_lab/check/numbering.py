"""Numbers the names of sessions, keys and values, in the order of their first occurrence."""

from __future__ import annotations

from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Ints


class Numbering(dict[Any, int]):
    """Numbers keys from 0 in the order of first access. True and 1.0 are not 1."""

    def __missing__(self, name: Any) -> int:
        self[name] = number = len(self)
        return number


def plain(name: Any) -> Any:
    """A hashable name that is unequal to values of other types."""
    return name if type(name) in (int, str) else (type(name).__name__, repr(name))


def as_given(name: Any) -> Any:
    return name if not isinstance(name, tuple) else name[1]


def numbers(numbering: Numbering, names: Ints | list[bytes]) -> Ints:
    """Numbers in the order of first occurrence, as one after another would get them."""
    if isinstance(names, list):
        number = {name: numbering[name.decode()] for name in dict.fromkeys(names)}
        return np.fromiter(map(number.__getitem__, names), np.int32, len(names))
    if not len(names):
        return np.zeros(0, np.int32)
    low, span = int(names.min()), int(names.max()) - int(names.min()) + 1
    different: Ints
    place: Ints
    if span > 8 * len(names) + 1_000:
        different, place = np.unique(names, return_inverse=True)
    else:
        different, place = np.arange(low, low + span), names - low
    first = np.full(len(different), len(names), np.int64)
    first[place[::-1]] = np.arange(len(names) - 1, -1, -1)
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(names))]
    table = np.zeros(len(different), np.int32)
    table[order] = [numbering[name] for name in different[order].tolist()]
    return table[place]
