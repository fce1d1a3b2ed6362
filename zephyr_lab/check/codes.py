"""Numbers the pairs of a key and a value: small numbers if values are small, so that tables of them are arrays."""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Ints

_NULL = np.iinfo(np.int64).min  # history.NULL, a number that no value is


def _least(column: Ints) -> int:
    """Of what is not NULL, which as a number without a sign is larger than all that is not negative."""
    if column.dtype == np.int64 and int(column.min()) == _NULL:
        unsigned = column.view(np.uint64)
        some = column[column != _NULL] if int(unsigned.max()) > 1 << 63 else unsigned
        return int(some.min(initial=1 << 62))
    return int(column.min())


class Codes:
    """Gives every (key, value) of `keys` keys a number; `columns` hold all values, and may hold NULL, which gets none
    that means anything."""

    def __init__(self, keys: int, columns: list[Ints]) -> None:
        values = [column for column in columns if len(column)]
        low, high = min(map(_least, values), default=0), max((int(column.max()) for column in values), default=0)
        low, high = (0, 0) if high == _NULL else (min(low, high), high)
        self._ranks: Ints | None = None
        if (high - low + 1) * max(keys, 1) >= 2**62:
            self._ranks = np.unique(np.concatenate(values))
            low, high = 0, len(self._ranks)
        self._low, self.span = low, high - low + 1
        self.size = self.span * max(keys, 1)

    def of(self, keys: Ints, values: Ints) -> Ints:
        if self._ranks is not None:
            values = np.searchsorted(self._ranks, values)
        numbers: Ints = keys.astype(np.int64)
        numbers *= self.span
        numbers += np.subtract(values, self._low, dtype=np.int64)
        return numbers
