"""What would be uploaded: the sdist, and the wheel built from it, as a package index and its tools look at them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("distributions"), pytest.mark.slow]

BIN = Path(sys.executable).parent


def run(*command: object, cwd: Path = ROOT) -> str:
    """What a tool prints; fails with it where the tool does."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(sdist, wheel)."""
    folder = tmp_path_factory.mktemp("dist")
    run(BIN / "uv", "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def test_a_package_index_takes_both(built: tuple[Path, Path]) -> None:
    """The README can be shown, and the wheel holds a package and nothing beside it."""
    assert run(BIN / "twine", "check", "--strict", *built).count("PASSED") == 2
    assert run(BIN / "check-wheel-contents", built[1]).rstrip().endswith("OK")


def test_pyroma_misses_only_what_would_have_to_be_invented(built: tuple[Path, Path]) -> None:
    """An e-mail address of the authors, and a project's home page."""
    said = run(BIN / "pyroma", "--min", "8", built[0])
    complaints = re.findall(r"^Your package.*$", said, re.MULTILINE)
    assert [re.search("author-email|'url' field", one) is not None for one in complaints] == [True, True], said


def test_the_wheel_says_that_it_is_typed_and_how_it_is_licensed(built: tuple[Path, Path]) -> None:
    """py.typed, and the licence's text beside the metadata."""
    names = zipfile.ZipFile(built[1]).namelist()
    assert "zephyr_lab/py.typed" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def unpacked(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's folder, with no checkout around it."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def test_the_sdist_is_all_that_is_tracked(built: tuple[Path, Path]) -> None:
    """Workflows, forms, locks and hidden files too: the tests read them."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: what is tracked is not known")
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert set(run("git", "ls-files").splitlines()) <= held


@pytest.mark.timeout(300)
def test_the_sdist_passes_the_tests_that_read_files(unpacked: Path) -> None:
    """Those that compare files of the whole project."""
    assert " passed" in run(*PYTEST, "tests/project/test_packaging.py", "tests/project/test_project.py", cwd=unpacked)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_the_sdist_passes_its_tests_without_a_server(unpacked: Path) -> None:
    """All of them."""
    assert " passed" in run(*PYTEST, "-m", "not server and not thorough", "tests", cwd=unpacked)


@pytest.mark.parametrize("platform", ["aarch64-manylinux_2_28", "x86_64-manylinux_2_28", "aarch64-apple-darwin"])
def test_no_compiler_is_needed(platform: str, tmp_path: Path) -> None:
    """Every pinned dependency has a wheel: the container of docker-compose.yml has no compiler, on either processor."""
    command = (BIN / "uv", "--system-certs", "pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:")
    where = ("--target", tmp_path, "--python-platform", platform, "--python-version", "3.11")
    run(*command, *where, "--require-hashes", "-r", ROOT / "requirements" / "lab.lock")
