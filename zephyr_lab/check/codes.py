"""Numbers the pairs of a key and a value: small numbers if values are small, so that tables of them are arrays."""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Ints


class Codes:
    """Gives every (key, value) of `keys` keys a number; `columns` hold all values, int64."""

    def __init__(self, keys: int, columns: list[Ints]) -> None:
        values = columns
        low = min((int(column.min()) for column in values if len(column)), default=0)
        high = max((int(column.max()) for column in values if len(column)), default=0)
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
