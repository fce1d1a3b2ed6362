"""Programs in other languages that take orders: built where the machine can, started, and asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zephyr_lab.shipped import shipped

JDBC = Path("/usr/share/java/postgresql.jar")
GO_SOURCES = Path("/usr/share/gocode")

Words = list[str | Path]
_INSTALLED: list[Path] = []  # where npm has put the packages, which takes seconds


def go_service(folder: Path, sources: Path | None = None) -> Words:
    """The Go service, or another program, built into a folder; skips where Go or a package of Debian's is missing."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go here (Debian: golang-go)")
    for library in ("lib/pq", "gomodule/redigo"):
        if not (GO_SOURCES / "src/github.com" / library).is_dir():
            pytest.skip(f"no {library} for Go here (Debian: golang-github-{library.replace('/', '-')}-dev)")
    settings = {"GO111MODULE": "off", "GOPATH": str(GO_SOURCES), "CGO_ENABLED": "0"}
    subprocess.run(
        [go, "build", "-o", folder / "booking", sources or "."],
        cwd=shipped("data", "services", "go"), env={**os.environ, **settings}, check=True, timeout=500,
    )  # fmt: skip
    return [folder / "booking"]


def node_service(folder: Path, source: Path | None = None) -> Words:
    """The Node service, or another program, in a folder with its packages; skips where Node or the registry is out of
    reach.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node here (node, npm)")
    for one in (*shipped("data", "services", "node").iterdir(), *([source] if source else [])):
        shutil.copy(one, folder)
    if _INSTALLED:
        (folder / "node_modules").symlink_to(_INSTALLED[0] / "node_modules")
        return [node, folder / (source.name if source else "booking.js")]
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--cache", folder / "cache"]
    done = subprocess.run([npm, "ci", *quiet], cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    if done.returncode and any(code in done.stderr for code in ("ENOTFOUND", "EAI_AGAIN", "ECONN", "ETIMEDOUT")):
        pytest.skip("the npm registry is out of reach")
    assert done.returncode == 0, done.stderr
    _INSTALLED.append(folder)
    return [node, folder / (source.name if source else "booking.js")]


def java_service(folder: Path, source: Path | None = None) -> Words:
    """The Java program, or another one; skips where there is no compiler or driver."""
    java = shutil.which("java")
    if java is None or shutil.which("javac") is None:
        pytest.skip("no JDK here (Debian: default-jdk-headless)")
    if not JDBC.exists():
        pytest.skip("no JDBC driver for PostgreSQL here (Debian: libpostgresql-jdbc-java)")
    return [java, "-cp", JDBC, source or Path(__file__).with_name("Booking.java")]


@dataclass(frozen=True)
class Service:
    """One that listens."""

    port: int

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def order(self, number: str, amount: int, slot: str = "slot:18") -> tuple[int, dict[str, Any]]:
        return self.ask("POST", "/orders", {"id": number, "customer": "Anna", "slot": slot, "amount": amount})

    def slot(self) -> tuple[int, int]:
        """What is booked in the first slot, and what is sold."""
        _, slot = self.ask("GET", "/slots/slot:18")
        assert slot["capacity"] == 100_000
        return slot["booked"], slot["sold"]


@contextlib.contextmanager
def started(command: Words, **settings: str) -> Iterator[Service]:
    """A service with these variables, until the end of the block."""
    with subprocess.Popen(
        command, env={**os.environ, "PORT": "0", **settings}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:"), line
            yield Service(int(line.rpartition(":")[2]))
        finally:
            process.terminate()
