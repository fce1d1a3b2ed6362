"""Keeps one server alive exactly as long as the process that started it.

Run as a process of its own, with the standard library only. It is the server's parent, in a session of its own, so
that an interrupt of a notebook does not reach the server. Its standard input is a lifeline: the first line is the
order (JSON), and when the pipe closes, because the owner closed it or died in whatever way, the server is stopped and
its folder removed. The owner's pid is watched too, in case a forked child of the owner still holds the pipe open.

The order: `prefix` (of the folder's name), `bases` (folders to try), `bytes` (that must be free), `uid`, `gid` (null:
as ourselves), `copies` (trees to copy in first), `files` (name -> text), `setup` (commands to run before), `server`
(the command), `stdin` (text for it), `stop` (signal name), `ready` (["line", file, number, text] or ["socket", file]),
`environment`, `seconds`; `cluster` (null, or `cache`, `key`, `password`: a kept `{folder}/data` in the place of files
and set-up, see `prepared.py`), `nameless` (null, or programs that the set-up needs, see `folders.py`).
`{folder}` in any text is replaced by the folder that this program creates. The reply, one line of JSON on standard
output:
`{"folder": ..., "pid": ..., "password": of the kept cluster, or null}` or `{"error": ..., "log": ...}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
import time

from zephyr_lab.servers import prepared
from zephyr_lab.servers.folders import (
    Unfit,
    Unpatched,
    copy_programs,
    hand_over,
    make_folder,
    remove,
    room,
    roomy,
    without_passwd_entry,
)
from zephyr_lab.servers.lifeline import owner_is_gone

TYPE_CHECKING = False  # `typing` itself would take longer to import than the rest
if TYPE_CHECKING:
    from typing import Any

PR_SET_PDEATHSIG = 1
AGAIN = "again"
"""A file of this name in the server's folder: when the server ends it is started again, once, on the same data."""

NO_ENTRY = (
    "This user id has no name in the password database (/etc/passwd), which initdb asks for: add one, run as a user "
    "that has one, or give a server in ZEPHYR_LAB_PG_DSN"
)


class Failed(Exception):
    """The server did not start; the text is for the owner."""

    def __init__(self, said: str, log: str = "") -> None:
        super().__init__(said)
        self.log = log


class Spoiled(Exception):
    """The server did not start on a kept cluster, which is removed."""


class Place:
    """The folder of one server, and its log: opened before the server's account may enter the folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.log = os.open(os.path.join(folder, "log"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.server: subprocess.Popen[bytes] | None = None

    def tail(self) -> str:
        size = os.fstat(self.log).st_size
        return "\n".join(os.pread(self.log, 8192, max(0, size - 8192)).decode(errors="replace").splitlines()[-12:])


def main() -> None:
    owner = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    # Those with more room than a start needs go first, so that a small one is used only as the last resort.
    bases, problems = sorted(order["bases"], key=lambda base: not roomy(base, 4 * order["bytes"])), []
    while bases:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            live(order, bases[0], owner)
            return
        except Spoiled:
            order["cluster"] = None  # not again, even if it cannot be removed
        except Unfit as problem:
            problems.append(f"{bases.pop(0)}: {problem}")
        except Failed as failure:
            answer({"error": str(failure), "log": failure.log})
            return
    answer(
        {
            "error": f"no folder for its files. It needs one with {order['bytes'] >> 20} MB free, a path short enough "
            f"for a socket, open to the account that it runs as: name one in TMPDIR. Tried {'; '.join(problems)}",
            "log": "",
        }
    )


def live(order: dict[str, Any], base: str, owner: int) -> None:
    """From the creation of the server's folder to its removal. Raises Unfit, Spoiled and Failed if it never started."""
    place, folder = None, make_folder(order, base)
    try:
        order = fill_in(order, folder)
        try:
            place = Place(folder)
            password = prepare(order, place)
            server = start(order, place)
            wait_until_ready(order, server, owner)
        except (OSError, Failed, Unpatched) as problem:
            raise consequence(problem, order, base, place) from problem
        answer({"folder": folder, "pid": server.pid, "password": password})
        while not owner_is_gone(owner, 0.05 if os.path.exists(os.path.join(folder, AGAIN)) else 0.5):
            if server.poll() is None:
                continue
            if not os.path.exists(os.path.join(folder, AGAIN)):
                break
            server = start_again(order, place, owner)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if place is not None:
            if place.server is not None:
                stop(place.server, order["stop"])
            os.close(place.log)
        remove(folder)


def consequence(problem: Exception, order: dict[str, Any], base: str, place: Place | None) -> Exception:
    """The reaction to a failed start: another folder, a new cluster, or the end."""
    log = place.tail() if place is not None else ""
    if getattr(problem, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in log:
        return Unfit(f"no space left ({room(base) >> 20} MB free)")
    cluster = order["cluster"]
    if cluster and cluster.get("taken"):
        prepared.forget(cluster["cache"], cluster["key"])
        return Spoiled()
    return Failed(f"{problem}. {NO_ENTRY}" if order["nameless"] else str(problem), log)


def answer(message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        print(json.dumps(message), flush=True)


def fill_in(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        return value.replace("{folder}", folder)
    if isinstance(value, list):
        return [fill_in(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: fill_in(item, folder) for key, item in value.items()}
    return value


def prepare(order: dict[str, Any], place: Place) -> str | None:
    """Creates all that the server needs, for its account; returns the password of a kept cluster, if it is one."""
    folder, uid, gid, cluster = place.folder, order["uid"], order["gid"], order["cluster"]
    data, password = os.path.join(folder, "data"), None
    for source, target in order["copies"]:
        copy_programs(source, target)
    if cluster:
        password = prepared.take(cluster["cache"], cluster["key"], data, uid, gid)
    if password is not None:
        cluster["taken"] = True
        hand_over(order, folder)
        return password
    for name, text in order["files"].items():
        with open(os.path.join(folder, name), "x") as file:
            file.write(text)
    if order["nameless"]:
        without_passwd_entry(order["nameless"])
    hand_over(order, folder)
    for command in order["setup"]:
        status = run(order, place, command, stdin=subprocess.DEVNULL).wait()
        if status != 0:
            raise Failed(f"{os.path.basename(command[0])} ended with status {status}")
    for name in order["files"]:
        os.unlink(os.path.join(folder, name))
    if cluster:
        owner = os.geteuid() if uid is None else uid
        prepared.keep(cluster["cache"], cluster["key"], data, cluster["password"], owner)
    return None


def start(order: dict[str, Any], place: Place) -> subprocess.Popen[bytes]:
    piped = order["stdin"] is not None
    server = place.server = run(order, place, order["server"], stdin=subprocess.PIPE if piped else subprocess.DEVNULL)
    if server.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            server.stdin.write(order["stdin"].encode())
            server.stdin.close()
    return server


def run(order: dict[str, Any], place: Place, command: list[str], stdin: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=place.folder,
            env=order["environment"],
            stdin=stdin,
            stdout=place.log,
            stderr=place.log,
            preexec_fn=before_exec,
            user=order["uid"],
            group=order["gid"],
            extra_groups=None if order["uid"] is None else [],
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error


def before_exec() -> None:
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):  # ignored by us, or by the shell that put us in the background
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if sys.platform == "linux":
        # After the change of account, which clears it. SIGQUIT: both servers end at once, without a checkpoint.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGQUIT), 0, 0, 0)


def start_again(order: dict[str, Any], place: Place, owner: int) -> subprocess.Popen[bytes]:
    """On what is on the disk. Until those that a killed server has left are gone too, it does not start."""
    deadline = time.monotonic() + order["seconds"]
    while True:
        looks_ready_no_more(order["ready"])
        server = start(order, place)
        try:
            wait_until_ready(order, server, owner)
        except Failed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            os.unlink(os.path.join(place.folder, AGAIN))
            return server


def looks_ready_no_more(how: list[Any]) -> None:
    """Only its word is changed: by the rest of the file a server knows those that another one has left."""
    if how[0] == "line" and is_ready(how):
        with open(how[1], "r+") as file:
            lines = file.read().splitlines()
            lines[how[2] - 1] = "killed"
            file.seek(0)
            file.write("\n".join([*lines, ""]))
            file.truncate()


def wait_until_ready(order: dict[str, Any], server: subprocess.Popen[bytes], owner: int) -> None:
    deadline = time.monotonic() + order["seconds"]
    while not is_ready(order["ready"]):
        if server.poll() is not None:
            raise Failed(f"{os.path.basename(order['server'][0])} ended at once, with status {server.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"{os.path.basename(order['server'][0])} was not ready after {order['seconds']} s")
        if owner_is_gone(owner, 0.005):
            sys.exit(0)


def is_ready(how: list[Any]) -> bool:
    try:
        if how[0] == "line":
            with open(how[1]) as file:
                lines = file.read().splitlines()
            return len(lines) >= how[2] and bool(lines[how[2] - 1].strip() == how[3])
        import socket

        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(how[1])
        return True
    except OSError:
        return False


def let_children_go_on(server: subprocess.Popen[bytes]) -> None:
    """Continues backends that the owner had stopped (see schedule/settling.py) when it died."""
    with contextlib.suppress(OSError), open(f"/proc/{server.pid}/task/{server.pid}/children") as children:
        for child in children.read().split():
            with contextlib.suppress(OSError):
                os.kill(int(child), signal.SIGCONT)


def stop(server: subprocess.Popen[bytes], name: str) -> None:
    # PostgreSQL kills children that do not react to SIGQUIT after 5 s; if it were killed before, they would stay.
    for kind, seconds in ((getattr(signal, name), 5), (signal.SIGQUIT, 7), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + seconds
        while server.poll() is None and time.monotonic() < deadline:
            # Repeatedly: a server that has just started does not handle its signals yet.
            server.send_signal(kind)
            let_children_go_on(server)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
