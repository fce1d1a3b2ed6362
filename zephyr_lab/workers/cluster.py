"""Dask: a cluster that people have, as an executor; its workers open what they work on, and close it as they end.

A worker that is killed closes nothing, and its servers end with it all the same: see `servers.supervisor`.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.extras import needed_by
from zephyr_lab.workers.kept import Open

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10


@contextlib.contextmanager
def connected(address: str) -> Iterator[tuple[Executor, str]]:
    """The workers of the scheduler at an address, such as tcp://10.0.0.1:8786, and the address of its dashboard.

    Raises MissingExtra, and ServerUnavailable if there is no scheduler.
    """
    with needed_by("a Dask cluster", "cluster"):
        from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ServerUnavailable(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler`, and workers with "
            f"`dask worker {address} --nthreads 1`"
        ) from error
    with client, client.get_executor(pure=False) as executor:
        yield executor, str(client.dashboard_link)


def dask_client(executor: Executor | None) -> Client | None:
    """The client behind an executor of Dask's. Its name is not promised; without, workers open at their first piece."""
    client: Client | None = getattr(executor, "_client", None)
    return client


def open_on(client: Client, open_it: Open[Any]) -> Callable[[], None]:
    """Has every worker open what it works on, those that come later too. Returns what has them close it.

    Raises what opening raises in a worker.
    """
    from zephyr_lab.workers.plugin import Opening  # Dask takes as long to import as all the rest

    name = f"zephyr-lab-{uuid.uuid4().hex}"
    client.register_plugin(Opening(open_it), name)

    def close() -> None:
        with contextlib.suppress(Exception):  # the client is closed, or its cluster is gone
            client.unregister_worker_plugin(name)

    return close
