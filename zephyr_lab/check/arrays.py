"""The types of the columns that histories and graphs are kept in.

Every array is one-dimensional: a column with a row for each operation, transaction, edge or node, as the field or the
function that has it says. Only `History.elements` is longer, as it holds lists one after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
"""Numbers of things, or values: int64, and int32 or int8 where a million of them should fit a cache."""

Bools = NDArray[np.bool_]
"""Which of the rows are meant."""
