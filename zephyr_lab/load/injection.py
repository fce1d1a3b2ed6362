"""Brings a run's faults about: each in a thread, at its time; what was stopped goes on, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
from psycopg import sql

from zephyr_lab.load.faults import Fault, Happened
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.keyvalue import KeyValue
from zephyr_lab.servers.supervisor import AGAIN

BACK_SECONDS = 20.0


@dataclass
class Injector:
    """`service` gives the service's pid; `start_service` starts another, at the same address, and waits for it."""

    database: Database
    keyvalue: KeyValue | None
    service: Callable[[], int]
    start_service: Callable[[], None]
    began: float
    happened: list[Happened] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, faults: list[Fault]) -> None:
        for one in faults:
            thread = threading.Thread(target=self._bring_about, args=(one,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> list[Happened]:
        """Ends what lasts; after it nothing is stopped, locked or away."""
        self._over.set()
        for one in self._threads:
            one.join(BACK_SECONDS + 5)
        return self.happened

    def _bring_about(self, fault: Fault) -> None:
        if self._over.wait(max(0.0, self.began + fault.at - time.monotonic())):
            return
        began = time.monotonic()
        try:
            if {"kill": self._kill, "stall": self._stall, "lock": self._lock}[fault.kind](fault) is False:
                return
        except Exception as error:  # of whatever driver: the run goes on, and says so
            self.problems.append(f"{fault.kind} {fault.target}: {type(error).__name__}: {error}")
            return
        name = {"kill": "killed", "stall": "stalled", "lock": "locked"}[fault.kind]
        target = "backend" if fault.target == "postgres" and fault.kind == "kill" else fault.target
        self.happened.append(Happened(f"{name} {target}", began - self.began, time.monotonic() - self.began))

    # -- kill

    def _kill(self, fault: Fault) -> bool:
        """SIGKILL, and until there is a process again that answers; the session of an order ends others with it."""
        if fault.target in ("backend", "postgres"):
            return self._kill_backend()
        if fault.target == "service":
            os.kill(self.service(), signal.SIGKILL)
            self.start_service()
        elif fault.target == "postmaster":
            folder = self.database.facts.address["host"]
            kill_and_start_again(Path(folder), postmaster(self.database), self._postgres_answers)
        elif self.keyvalue:
            folder = str(Path(unquote(urlsplit(self.keyvalue.url).path)).parent)
            kill_and_start_again(Path(folder), valkey(self.keyvalue), self.keyvalue.client.ping)
        return True

    def _kill_backend(self) -> bool:
        with self.database.connect() as admin:
            row = admin.execute(
                "select pid from pg_stat_activity where application_name = %s order by state = 'active' desc limit 1",
                [f"{self.database.schema} load"],
            ).fetchone()
        if row is None:
            return False
        os.kill(row[0], signal.SIGKILL)
        return True

    def _postgres_answers(self) -> bool:
        with self.database.connect():
            return True

    # -- what lasts

    def _stall(self, fault: Fault) -> None:
        """SIGSTOP to every process of it, then SIGCONT: nobody is told that it does not answer."""
        if fault.target == "service":
            pids = [self.service()]
        elif fault.target == "redis":
            pids = [valkey(self.keyvalue)] if self.keyvalue else []
        else:
            main = psutil.Process(postmaster(self.database))
            pids = [main.pid, *(one.pid for one in main.children(recursive=True))]
        try:
            _signal(pids, signal.SIGSTOP)
            self._over.wait(fault.lasts)
        finally:
            _signal(pids, signal.SIGCONT)

    def _lock(self, fault: Fault) -> None:
        with self.database.connect() as holder, holder.transaction():
            holder.execute(sql.SQL("lock table {} in access exclusive mode").format(sql.Identifier(fault.target)))
            self._over.wait(fault.lasts)


def kill_and_start_again(folder: Path, pid: int, answers: Callable[[], object]) -> None:
    """A server in the lab's own folder; its supervisor starts it again on what is on the disk, as a service manager.

    Raises TimeoutError.
    """
    (folder / AGAIN).touch()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # of whatever driver
            if answers():
                return
        threading.Event().wait(0.02)
    raise TimeoutError(f"it did not answer again within {BACK_SECONDS:g} s")


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def postmaster(database: Database) -> int:
    """The pid of the lab's own PostgreSQL."""
    with database.connect() as admin:
        return int(psutil.Process(admin.info.backend_pid).ppid())


def valkey(keyvalue: KeyValue) -> int:
    """The pid of the lab's own Valkey."""
    said: Any = keyvalue.client.info("server")
    return int(said["process_id"])
