"""The wheel, installed into an empty environment elsewhere, by root and by somebody who is not."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# In CI test_core installs the same wheel, without the course.
pytestmark = [pytest.mark.server, pytest.mark.xdist_group("wheel"), pytest.mark.thorough]

UV = Path(sys.executable).with_name("uv")


def build_wheel(into: Path) -> Path:
    """The checkout's wheel."""
    options = ["--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([UV, "build", *options, "--out-dir", into, ROOT], check=True)
    return next(into.glob("*.whl"))


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Path]:
    """A folder outside the checkout with `venv/`, into which the built wheel and its pinned dependencies went."""
    folder = Path(tempfile.mkdtemp(prefix="zw-", dir="/tmp"))
    folder.chmod(0o755)
    # The system's Python where it is new enough: an ordinary user may not be able to execute root's own.
    system = next(
        (path for path in ("/usr/bin/python3.11", "/usr/bin/python3.13") if Path(path).exists()), sys.executable
    )
    for command in (
        ["venv", "--quiet", "--python", system, folder / "venv"],
        [
            "pip",
            "install",
            "--quiet",
            "--python",
            folder / "venv",
            "--no-deps",
            "--require-hashes",
            "-r",
            ROOT / "requirements/lab.lock",
        ],
    ):
        subprocess.run([UV, *command], check=True, env={**os.environ, "UV_LINK_MODE": "copy"})
    wheel = build_wheel(folder)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", folder / "venv", "--no-deps", wheel], check=True)
    yield folder
    shutil.rmtree(folder)


THREE = ("non-repeatable-read", "phantom", "lost-update")


def matrix(folder: Path, **options: object) -> dict[str, dict[str, str]]:
    """What the installed command measures, with an empty home and nothing of the checkout in reach."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    home.chmod(0o777)
    done = subprocess.run(
        [folder / "venv" / "bin" / "zephyr-lab", "matrix", *THREE, "--format", "json"],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=100,
        check=False,
        env={"HOME": str(home), "PATH": os.defpath},
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["matrix"]


def test_the_wheel_runs_the_matrix_with_its_own_sql_and_data(elsewhere: Path) -> None:
    """sql/ and data/ travel inside."""
    assert matrix(elsewhere)["lost-update"]["repeatable read"] == "aborts 40001"
    assert list(elsewhere.glob("venv/lib/*/site-packages/zephyr_lab/_shipped/data/*.csv"))


def test_pytest_finds_the_plugin_in_the_wheel(elsewhere: Path) -> None:
    """By its entry point, in a project that knows nothing of it but the fixture's name."""
    project = elsewhere / "project"
    project.mkdir()
    (project / "test_one.py").write_text(
        "def f(conn): conn.execute('update t set n = n + 1')\n"
        "def test_f(zephyr): zephyr.explore([f, f], setup='create table t (n int); insert into t values (0)')\n"
    )
    done = subprocess.run(
        [elsewhere / "venv/bin/python", "-m", "pytest", "-v"],
        capture_output=True,
        text=True,
        cwd=project,
        timeout=100,
        check=False,
        env={"PATH": os.defpath},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 4 schedules, 0 anomalous, 2 blocked steps" in done.stdout
    assert list(elsewhere.glob("venv/lib/*/site-packages/zephyr_lab/_shipped/docs/pytest.md"))


def test_an_ordinary_user_runs_it_too(elsewhere: Path) -> None:
    """As themselves, without another account."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else; the other tests have just run as an ordinary user")
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        subprocess.run([elsewhere / "venv/bin/python", "--version"], check=True, **account)  # type: ignore[call-overload]
    except PermissionError:
        pytest.skip("no Python on this machine that an ordinary user may execute")
    assert matrix(elsewhere, **account)["phantom"]["read committed"] == "occurs"


def test_root_runs_it_from_a_folder_that_others_cannot_enter(elsewhere: Path) -> None:
    """Such as root's own home: the programs are copied to where the server's account may execute them."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user runs the servers as themselves")
    elsewhere.chmod(0o700)
    try:
        assert matrix(elsewhere)["non-repeatable-read"]["serializable"] == "prevented"
    finally:
        elsewhere.chmod(0o755)
