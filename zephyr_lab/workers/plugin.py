"""What a worker of Dask's runs as it begins and ends."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from zephyr_lab.workers.kept import KEPT, Open


class Opening(WorkerPlugin):
    """Opens what the worker works on, and closes it; in a thread, since meanwhile it answers its scheduler."""

    def __init__(self, open_it: Open[Any]) -> None:
        self.open_it = open_it

    async def setup(self, worker: Any) -> None:
        await asyncio.to_thread(_open, self.open_it)

    async def teardown(self, worker: Any) -> None:
        await asyncio.to_thread(KEPT.close)


def _open(open_it: Open[Any]) -> None:
    with KEPT.opened(open_it):
        pass
