"""A cluster is made once and copied: from where, when not, and what becomes of one that is no good."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.servers.embedded import cache_folder, start_postgres
from zephyr_lab.servers.prepared import copy_tree

pytestmark = pytest.mark.server

OTHER = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"))
START = "from zephyr_lab.servers.embedded import start_postgres\nstart_postgres()[0].close()\nprint('done')"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clusters are kept in this test; not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ZEPHYR_LAB_CACHE", str(folder))
    return folder


def identifier(pg_bin: str | None = None) -> tuple[int, bool]:
    """Starts a server: which run of initdb its cluster comes from, and whether it was a kept one."""
    server, dsn = start_postgres(pg_bin)
    try:
        with psycopg.connect(dsn) as connection:
            row = connection.execute("select system_identifier from pg_control_system()").fetchone()
    finally:
        server.close()
    assert row
    return row[0], server.password is not None


def entries(cache: Path) -> list[Path]:
    """What is in the cache but for its lock."""
    return sorted(path for path in cache.iterdir() if path.name != "zephyr-lab.lock")


def test_a_cluster_is_made_once_and_copied(cache: Path) -> None:
    """The second start runs no initdb, and whatever the first server was told is not in it."""
    with Lab() as lab:
        lab.connect().execute("create table public.left_over ()")
        first = lab.connect().execute("select system_identifier from pg_control_system()").fetchone()
    with Lab() as lab:
        second = lab.connect().execute("select system_identifier, to_regclass('left_over') from pg_control_system()")
        assert first is not None
        assert second.fetchone() == (first[0], None)
    (entry,) = entries(cache)
    assert {path.name for path in entry.iterdir()} == {"data", "password", "whole"}


def test_what_is_kept_is_closed_to_others_and_ours(cache: Path) -> None:
    """The password above all."""
    identifier()
    for path in (cache, *cache.rglob("*")):
        status = path.lstat()
        assert (status.st_uid, status.st_mode & 0o077) == (os.geteuid(), 0), path


def test_a_copy_is_byte_for_byte_and_takes_less_room(cache: Path, tmp_path: Path) -> None:
    """The write-ahead log, of 16 MB, is nearly all zeros."""
    identifier()
    kept, copy = entries(cache)[0] / "data", tmp_path / "copy"
    counted = copy_tree(str(kept), str(copy), os.geteuid(), None, None)
    files = {path.relative_to(kept) for path in kept.rglob("*") if path.is_file()}
    assert counted[0] == len(files) > 900
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == files
    assert filecmp.cmpfiles(kept, copy, [str(file) for file in files], shallow=False)[1:] == ([], [])
    (log,) = copy.glob("pg_wal/0*")
    assert log.stat().st_size == 16 << 20
    assert log.stat().st_blocks * 512 < 8 << 20


@pytest.mark.thorough
@pytest.mark.skipif(not OTHER, reason="no PostgreSQL of the distribution's on this machine")
def test_another_postgresql_has_a_cluster_of_its_own(cache: Path) -> None:
    """And each is used again."""
    own, others = identifier(), identifier(str(OTHER[-1]))
    assert not own[1]
    assert not others[1]
    assert identifier() == (own[0], True)
    assert identifier(str(OTHER[-1])) == (others[0], True)
    assert len(entries(cache)) == 2


def cut_short(entry: Path) -> None:
    largest = max(entry.glob("data/base/*/*"), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size - 8192)


DAMAGES = {
    "a file is missing": lambda entry: next(entry.glob("data/base/5/*")).unlink(),
    "a file is cut short": cut_short,
    "its end was never written": lambda entry: (entry / "whole").unlink(),
    "its end is no JSON": lambda entry: (entry / "whole").write_text(""),
    "it has no password": lambda entry: (entry / "password").unlink(),
    "a file is a link": lambda entry: (
        (entry / "data" / "PG_VERSION").unlink(),
        (entry / "data" / "PG_VERSION").symlink_to("/etc/passwd"),
    ),
    "it is a file": lambda entry: (shutil.rmtree(entry), entry.write_text("")),
}


@pytest.mark.thorough
def test_a_damaged_cluster_is_noticed_and_replaced(cache: Path) -> None:
    """By the next start, which makes another."""
    seen = [identifier()]
    for damage, do in DAMAGES.items():
        do(entries(cache)[0])
        seen.append(identifier())
        assert seen[-1][0] not in [one for one, _ in seen[:-1]], damage
        assert not seen[-1][1], damage
        assert len(entries(cache)) == 1, damage
    assert identifier() == (seen[-1][0], True)


@pytest.mark.thorough
def test_one_that_no_server_comes_up_on_is_forgotten(cache: Path) -> None:
    """Whole as it looks. The start that finds it out makes a cluster of its own, and the next one keeps one."""
    first, _ = identifier()
    control = entries(cache)[0] / "data" / "global" / "pg_control"
    control.write_bytes(b"x" * control.stat().st_size)
    second, was_kept = identifier()
    assert not was_kept
    assert second != first
    assert entries(cache) == []
    third, was_kept = identifier()
    assert not was_kept
    assert identifier() == (third, True)


def open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def somebody_elses(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of somebody else's")
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


@pytest.mark.parametrize("make", [open_to_others, a_link, somebody_elses, Path.touch])
def test_a_folder_that_is_not_ours_alone_is_left_alone(cache: Path, make: Callable[[Path], None]) -> None:
    """Without a word: the server is started as if there were none."""
    make(cache)
    assert not identifier()[1]
    assert not cache.is_dir() or not list(cache.iterdir())


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the user's folder for such things, and nowhere where that is somebody else's, as root's by `sudo`."""
    monkeypatch.delenv("ZEPHYR_LAB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = "Library/Caches" if sys.platform == "darwin" else ".cache"
    assert cache_folder() == str(tmp_path / usual / "zephyr-lab")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == str(tmp_path / "xdg" / "zephyr-lab")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
        assert cache_folder() is None
        os.chown(tmp_path, 0, 0)
    else:
        monkeypatch.setenv("HOME", "/nonexistent")
        assert cache_folder() is None
    monkeypatch.delenv("HOME")
    assert os.geteuid() == 0 or cache_folder() is None


def test_several_at_once_make_one(cache: Path) -> None:
    """And all of them come up."""
    running = [subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["done\n"] * 3
    (entry,) = entries(cache)
    assert json.loads((entry / "whole").read_text())[0] > 900
    assert identifier()[1]


@pytest.mark.thorough
def test_a_maker_that_was_killed_leaves_nothing_that_stays(cache: Path) -> None:
    """What it was making is removed by the next one that makes."""
    deadline = time.monotonic() + 60
    while not list(cache.glob("zephyr-lab-making-*")):
        assert time.monotonic() < deadline
        shutil.rmtree(cache, ignore_errors=True)
        _kill_while_making(cache)
    assert not identifier()[1]
    assert identifier()[1]
    assert not list(cache.glob("zephyr-lab-making-*"))


def _kill_while_making(cache: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if list(cache.glob("zephyr-lab-making-*")):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            process.kill()
            process.wait()


def test_old_ones_are_removed(cache: Path) -> None:
    """Those least used, when another is made, and any that was not used for a month; and nothing else that is there."""
    cache.mkdir(mode=0o700)
    now = time.time()
    for days in (1, 2, 3, 4, 40):
        old = cache / f"zephyr-lab-kept-9-{days}"
        (old / "data").mkdir(parents=True, mode=0o700)
        os.utime(old, (now - days * 86400,) * 2)
    (cache / "notes").mkdir()
    (cache / "making-plans").touch()
    for path in cache.glob("[nm]*"):
        os.utime(path, (now - 99 * 86400,) * 2)
    identifier()
    assert {path.name for path in cache.glob("[nm]*")} == {"notes", "making-plans"}
    assert len(entries(cache)) == 4 + 2
    assert sorted(path.name for path in cache.glob("zephyr-lab-kept-9-*")) == [
        "zephyr-lab-kept-9-1",
        "zephyr-lab-kept-9-2",
        "zephyr-lab-kept-9-3",
    ]
