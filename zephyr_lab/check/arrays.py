"""The types of the columns of histories and graphs.

Every array is one-dimensional: a column with a row for each operation, transaction, edge or node, as documented where
it is used. Only `History.elements` is longer, as it holds lists one after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
"""Indices or values: int64, and int32 or int8 where a million of them should fit a cache."""

Bools = NDArray[np.bool_]
"""A mask of rows."""
