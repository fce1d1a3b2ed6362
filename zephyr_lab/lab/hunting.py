"""A hunt with a lab: its options are checked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.hunt.decision import Explores
from zephyr_lab.hunt.hunter import Hunter
from zephyr_lab.hunt.report import Hunt
from zephyr_lab.hunt.workers import Elsewhere
from zephyr_lab.options import HUNT_OPTIONS, ExploreOptions


def hunt(
    lab: Explores,
    operations: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    elsewhere: Elsewhere | None,
    triples: bool,
    budget: float | None,
    export: Path | None,
    history: Path | None,
    on_progress: Callable[[Hunt], None] | None,
) -> Hunt:
    """As `Lab.hunt`. Raises BadInput."""
    if not isinstance(operations, Mapping) or not operations:
        raise BadInput('a hunt takes operations by name: lab.hunt({"book": book, "cancel": cancel}, setup=SCHEMA)')
    for name in options:
        if name not in HUNT_OPTIONS:
            close = difflib.get_close_matches(name, HUNT_OPTIONS, 1)
            meant = f" (did you mean {close[0]!r}?)" if close else ""
            raise BadInput(f"a hunt has no option {name!r}{meant}; there are: {', '.join(HUNT_OPTIONS)}")
    ExploreOptions(**options, budget=budget).check()
    for name, folder in (("export", export), ("history", history)):
        if folder and elsewhere and elsewhere.is_chosen:
            raise BadInput(f"races are exported by whoever finds them, on its machine: leave out {name}=, or executor=")
        if folder:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"races cannot be exported into the folder {folder}: {error.strerror}") from None
    return Hunter(
        lab, operations, options, elsewhere, triples=triples, budget=budget, export=export, history=history,
        on_progress=on_progress,
    ).run()  # fmt: skip
