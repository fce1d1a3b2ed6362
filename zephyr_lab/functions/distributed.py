"""A search among functions by many workers: the functions travel, with their setups, and run there as they do here."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zephyr_lab.errors import Presumed
from zephyr_lab.explore.checkpoint import Checkpoint, header
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import OnProgress
from zephyr_lab.explore.parallel import Distributed, HasRunner, sliced
from zephyr_lab.explore.pieces import Slice
from zephyr_lab.explore.selection import Part, Selection
from zephyr_lab.functions.effects import NotReducible, OpaqueMet
from zephyr_lab.functions.explorer import FunctionExplorer
from zephyr_lab.functions.session import Function
from zephyr_lab.functions.setup import unwrapped
from zephyr_lab.options import RUN_OPTIONS, RunOptions
from zephyr_lab.schedule.transcript import Transcript
from zephyr_lab.workers.kept import KEPT, Open
from zephyr_lab.workers.packed import digest, packed, unpacked
from zephyr_lab.workers.pool import Workers

_WAY_ON = "or leave out jobs= and executor="


class MakesExplorers(Protocol):
    @property
    def function_explorer(self) -> Callable[..., FunctionExplorer]: ...


MakeLab = Callable[[Any], MakesExplorers]
"""A lab on what a worker has opened; picklable."""


@dataclass(frozen=True)
class FunctionSearch:
    """The schedules of functions, which are packed with their options by `pack`. `met` is a serial run of theirs."""

    make_lab: MakeLab
    data: bytes
    met: Transcript
    selection: Selection
    step_seconds: float
    opaque: bool
    token: str

    def explore(self, opened: HasRunner, part: Part, seconds: float) -> Slice:
        with opened.runner.steps_within(self.step_seconds):
            explorer = KEPT.made(self.token, lambda stack: self._explorer(opened, stack))
            return sliced(explorer.go_on, self.selection.scheduler(None, part), seconds)

    def _explorer(self, opened: HasRunner, stack: contextlib.ExitStack) -> FunctionExplorer:
        functions, options = unpack(self.data)
        explorer = self.make_lab(opened).function_explorer(functions, **options)
        stack.enter_context(explorer.intercepted())  # connections are kept from piece to piece
        explorer.meet(self.met, opaque=self.opaque)
        return explorer


def pack(functions: Mapping[str, Function], options: RunOptions) -> bytes:
    """Functions by session, and options, for `unpack` in a worker. Raises BadInput for what cannot travel."""
    about = {f"session {name}": one for name, one in functions.items()}
    return packed({**about, **options.part(RUN_OPTIONS)}, _WAY_ON)


def unpack(data: bytes) -> tuple[dict[str, Function], dict[str, Any]]:
    things = unpacked(data)
    options = {name: things.pop(name) for name in RUN_OPTIONS}
    return {name.removeprefix("session "): one for name, one in things.items()}, options


@dataclass
class Elsewhere:
    """Has the schedules of functions explored by `workers`, or in slices by this process, with a `checkpoint`."""

    functions: Mapping[str, Function]
    make_lab: MakeLab
    open_it: Open[Any]
    workers: Workers | None
    checkpoint: Path | None

    def __call__(
        self, explorer: FunctionExplorer, selection: Selection, on_progress: OnProgress | None, budget: float | None
    ) -> Exploration:
        """As `FunctionExplorer.explore`, which see for what it raises; and BadInput, ServerLost.

        What a checkpoint's search has found out is known from the beginning.
        """
        data = pack(self.functions, explorer.options) if self.workers else b""  # before anything is run
        known = (header(self.checkpoint) if self.checkpoint else None) or {}
        if selection.reduction and known.get("reduction") is False:
            raise NotReducible
        selection = selection.known(known)
        with explorer.intercepted():
            explorer.meet(opaque=known.get("opaque") is True)
            try:
                while True:
                    try:
                        return self._distributed(explorer, selection, data).run(on_progress, budget)
                    except Presumed as presumed:
                        self._begin_again()
                        selection = selection.without(presumed.what)
            except (OpaqueMet, NotReducible):
                self._begin_again()
                raise

    def _begin_again(self) -> None:
        """What the search took for granted is not so: nothing of what it has found is kept."""
        if self.checkpoint:
            self.checkpoint.unlink(missing_ok=True)

    def _distributed(self, explorer: FunctionExplorer, selection: Selection, data: bytes) -> Distributed:
        seconds, isolation = explorer.runner.step_seconds, explorer.met.isolation
        return Distributed(
            FunctionSearch(self.make_lab, data, explorer.met, selection, seconds, explorer.is_opaque, uuid.uuid4().hex),
            selection.all(),
            Exploration("functions", isolation, invariant=explorer.options.invariant is not None),
            lambda part, seconds: sliced(explorer.go_on, selection.scheduler(None, part), seconds),
            self.open_it,
            self.workers,
            Checkpoint(self.checkpoint, self._about(explorer, selection)) if self.checkpoint else None,
        )

    def _about(self, explorer: FunctionExplorer, selection: Selection) -> dict[str, Any]:
        options = explorer.options
        parts = [options.setup] if isinstance(options.setup, str) or callable(options.setup) else options.setup
        return {
            "functions": {name: digest(one) for name, one in self.functions.items()},
            "setup": [one if isinstance(one, str) else digest(unwrapped(one)) for one in parts],
            "isolation": str(options.isolation).lower(),
            "invariant": options.invariant if not callable(options.invariant) else digest(options.invariant),
            "ignore": sorted(options.ignore),
            "compare": sorted(map(str, options.compare or {})),
            "refusals": [one if isinstance(one, str) else digest(one) for one in options.refusals],
            "faults": repr(options.faults),
            "time": options.time,
            "retry": options.retry,
            **selection.about(),
            "opaque": explorer.is_opaque,
            "server": explorer.runner.database.facts.version_name,
            "step_seconds": explorer.runner.step_seconds,
        }
