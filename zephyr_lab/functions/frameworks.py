"""State that frameworks share between the threads of a process: each session gets its own.

asgiref, for Django's asynchronous ORM, has one thread for all synchronous code: a session that parks in it would
block all others. Celery has one flag for whether a task is running, and a random id for each task.
"""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zephyr_lab.functions.imports import when_imported
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.turn import current_session, owner


def frameworks_keep_sessions_apart() -> contextlib.AbstractContextManager[None]:
    """Patches asgiref and Celery, as soon as they have been imported."""
    return when_imported({"asgiref.sync": _threads_are_the_sessions, "celery.app.task": _tasks_are_the_sessions})


class _OneThreadEach:
    """Replaces asgiref's executor of one thread by one for each owner of threads."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        if (who := owner()) is None:
            return self._real
        if "asgiref" not in who.kept:
            executor = who.kept["asgiref"] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=who.title)
            who.at_end.callback(executor.shutdown, wait=False)
        return who.kept["asgiref"]


def _threads_are_the_sessions() -> contextlib.AbstractContextManager[None]:
    return patched(sys.modules["asgiref.sync"].SyncToAsync, "single_thread_executor", _OneThreadEach)


@contextlib.contextmanager
def _tasks_are_the_sessions() -> Iterator[None]:
    with contextlib.ExitStack() as patches:
        for module in ("celery._state", "celery.result"):
            patches.enter_context(patched(sys.modules[module], "task_join_will_block", _will_block))
            patches.enter_context(patched(sys.modules[module], "_set_task_join_will_block", _set_will_block))
        patches.enter_context(patched(sys.modules["celery.app.task"], "uuid", _task_id))
        yield


def _will_block(real: Any) -> Any:
    return lambda: real() if (turn := current_session()) is None else turn.kept.get("celery", False)


def _set_will_block(real: Any) -> Any:
    def set_will_block(blocks: bool) -> None:
        if (turn := current_session()) is None:
            real(blocks)
        else:
            turn.kept["celery"] = blocks

    return set_will_block


def _task_id(real: Any) -> Any:
    """The same id in every run of a schedule."""

    def task_id(*args: Any, **kwargs: Any) -> str:
        if (turn := current_session()) is None:
            return str(real(*args, **kwargs))
        turn.kept["tasks"] = turn.kept.get("tasks", 0) + 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{turn.name} {turn.kept['tasks']}"))

    return task_id
