"""A PostgreSQL that can be killed and started again on the same data, at the same address."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from zephyr_lab.servers.embedded import Supervised, find_postgres

PASSWORD = "restartable"


class RestartablePostgres:
    """Its data outlives its processes, as on a real machine; `close` removes both."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zephyr-lab-test-", dir="/tmp"))
        self._program = find_postgres()
        if self._program.account.uid is not None:
            os.chown(self.folder, self._program.account.uid, self._program.account.gid or -1)
        self.dsn = f"host={self.folder} port=5432 user=postgres dbname=postgres password={PASSWORD}"
        initdb = [
            self._program.command("initdb"), "-D", f"{self.folder}/data", "-U", "postgres", "-A", "scram-sha-256",
            "--pwfile", "{folder}/password", "-E", "UTF8", "--no-locale", "-c", "huge_pages=off",
        ]  # fmt: skip
        self._server = self._start({"files": {"password": PASSWORD + "\n"}, "setup": [initdb]})

    def _start(self, first: dict[str, Any]) -> Supervised:
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "huge_pages=off", "timezone=UTC"]
        words = [word for setting in settings for word in ("-c", setting)]
        order = {
            "prefix": "zephyr-lab-pg-",
            "server": [self._program.command("postgres"), "-D", f"{self.folder}/data", *words],
            "ready": ["line", f"{self.folder}/data/postmaster.pid", 8, "ready"],
            "stop": "SIGINT",
        }
        return Supervised(self._program, order | first)

    def kill(self) -> None:
        """SIGKILL: no checkpoint, no goodbye; returns when its backends have noticed."""
        pid = self._server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._server.close()

    def start_again(self) -> None:
        """On what is on the disk."""
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)  # it would look ready before it is
        self._server = self._start({})

    def close(self) -> None:
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)
