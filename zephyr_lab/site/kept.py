"""Executed notebooks that are kept from one build to the next (jupyter-cache, which myst-nb brings along).

One is taken again when its code cells are the same, and so is all that they were executed with: the package, `sql/` and
`data/`, Python and what is installed, the programs of the servers, and variables that name another server. What a
server of yours holds is not looked at; neither is the time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from zephyr_lab.shipped import shipped

MARK = "zephyr-lab-executed"  # of the folders that are ours to remove
_SERVERS = ("ZEPHYR_LAB_PG_BIN", "ZEPHYR_LAB_PG_DSN", "ZEPHYR_LAB_REDIS_URL", "ZEPHYR_LAB_WITHOUT_PNG")
_RUN_HERE = ("schedules.py",)  # what else the site does, it does to what has been executed
_LOCK = threading.Lock()  # threads share one database file


class Kept:
    """The notebooks that were executed with what is here now; those of other surroundings are removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"{MARK}-{surroundings()}"

    def find(self, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
        """It with its results; None if it was not executed here."""
        with _LOCK:
            if not self.folder.is_dir():
                return None
            merged: nbformat.NotebookNode
            try:
                _, merged = get_cache(self.folder).merge_match_into_notebook(notebook)
            except KeyError:
                return None
            return merged

    def keep(self, notebook: nbformat.NotebookNode, path: Path) -> None:
        with _LOCK:
            for other in self.folder.parent.glob(f"{MARK}-*"):
                if other != self.folder:
                    shutil.rmtree(other)
            bundle = CacheBundleIn(notebook, str(path))
            get_cache(self.folder).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


@cache
def surroundings() -> str:
    """A digest of what notebooks are executed with, their own cells excepted."""
    told = hashlib.sha256(sys.version.encode())
    told.update("\n".join(sorted(f"{one.name} {one.version}" for one in distributions())).encode())
    for name in ("postgres", "pg_ctl", "valkey-server", "redis-server"):
        program = shutil.which(name)
        told.update(f"{program} {Path(program).stat().st_mtime_ns if program else ''}".encode())
    told.update(repr([os.environ.get(name) for name in _SERVERS]).encode())
    here = Path(__file__).resolve().parent
    for root in (here.parent, shipped("sql"), shipped("data")):
        for path in sorted(root.rglob("*")):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and (here not in path.parents or path.name in _RUN_HERE)
            ):
                told.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return told.hexdigest()[:16]
