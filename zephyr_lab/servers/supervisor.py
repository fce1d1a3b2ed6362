"""Keeps one server alive exactly as long as the process that asked for it.

Run as a program of its own, with the standard library only. It is the server's parent, in a session of its own, so
that an interrupt meant for a notebook does not reach the server. Its standard input is a lifeline: the first line is
the order (JSON), and when the pipe closes, because the owner closed it or died in whatever way, the server is stopped
and its folder removed. The owner's pid is watched too, for the case that a forked child of the owner still holds the
pipe open.

The order: `prefix` (of the folder's name), `bases` (folders to try), `uid`, `gid` (null: as ourselves), `copies`
(trees to copy in first), `files` (name -> text), `setup` (commands to run before), `server` (the command), `stdin`
(text for it), `stop` (signal name), `ready` (["line", file, number, text] or ["socket", file]), `environment`,
`seconds`. `{folder}` in any text stands for the folder that this program makes. The answer, one line of JSON on
standard output: `{"folder": ..., "pid": ...}` or `{"error": ..., "log": ...}`.
"""

import contextlib
import ctypes
import fcntl
import glob
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
LOCK = "owner.lock"


class Failed(Exception):
    """The server did not come up; the text is for the owner."""


def main() -> None:
    owner = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.umask(0o077)
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    folder, server = None, None
    try:
        folder = make_folder(order)
        order = fill_in(order, folder)
        prepare(order, folder)
        server = start(order, folder)
        wait_until_ready(order, server, owner)
        answer({"folder": folder, "pid": server.pid})
        while server.poll() is None and not owner_is_gone(owner, 0.5):
            pass
    except Failed as failure:
        answer({"error": str(failure), "log": tail(folder)})
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if server is not None:
            stop(server, order["stop"])
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def answer(message: dict) -> None:
    with contextlib.suppress(OSError):
        print(json.dumps(message), flush=True)


def owner_is_gone(owner: int, seconds: float) -> bool:
    readable, _, _ = select.select([0], [], [], seconds)
    if readable and os.read(0, 1) == b"":
        return True
    return os.getppid() != owner


def make_folder(order: dict) -> str:
    """A folder of our own that the server's account can enter, locked for as long as this process lives."""
    problems = []
    for base in order["bases"]:
        if len(os.path.join(base, order["prefix"] + "12345678", ".s.PGSQL.5432.lock")) > 100:
            problems.append(f"{base}: too long for a unix socket's path")
            continue
        if not enterable(base, order["uid"], order["gid"]):
            problems.append(f"{base}: closed to the account that the server runs as")
            continue
        try:
            sweep(base, order["prefix"])
            folder = tempfile.mkdtemp(prefix=order["prefix"], dir=base)
        except OSError as error:
            problems.append(f"{base}: {error.strerror}")
            continue
        # Held open until we end. Locked under another name first: a sweep never sees a lock file that is not held.
        lock = os.open(os.path.join(folder, "new.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(os.path.join(folder, "new.lock"), os.path.join(folder, LOCK))
        if order["uid"] is not None:
            os.chown(folder, order["uid"], order["gid"])
        return folder
    raise Failed("no folder for the server's files; tried " + "; ".join(problems))


def enterable(path: str, uid: int | None, gid: int | None) -> bool:
    """Whether the account may pass through every folder of the path (group membership beyond `gid` not counted)."""
    if uid is None:
        return os.access(path, os.W_OK | os.X_OK)
    while True:
        try:
            status = os.stat(path)
        except OSError:
            return False
        shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
        if not (status.st_mode >> shift) & 1:
            return False
        if path == os.path.dirname(path):
            return True
        path = os.path.dirname(path)


def sweep(base: str, prefix: str) -> None:
    """Removes folders whose supervisor was killed together with everything else: nobody holds their lock."""
    for folder in glob.glob(os.path.join(glob.escape(base), prefix + "*")):
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                continue
            lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def fill_in(value, folder: str):
    if isinstance(value, str):
        return value.replace("{folder}", folder)
    if isinstance(value, list):
        return [fill_in(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: fill_in(item, folder) for key, item in value.items()}
    return value


def prepare(order: dict, folder: str) -> None:
    for source, target in order["copies"]:
        if os.path.isdir(source):
            shutil.copytree(source, target, symlinks=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)
    if order["copies"] and order["uid"] is not None:
        for root, folders, files in os.walk(folder):
            for name in folders + files:
                if name != LOCK:
                    os.lchown(os.path.join(root, name), order["uid"], order["gid"])
    for name, text in order["files"].items():
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(text)
        if order["uid"] is not None:
            os.chown(path, order["uid"], order["gid"])
    for command in order["setup"]:
        with open(os.path.join(folder, "log"), "ab") as log:
            status = run(order, folder, command, log, stdin=subprocess.DEVNULL).wait()
        if status != 0:
            raise Failed(f"{os.path.basename(command[0])} ended with status {status}")
    for name in order["files"]:
        os.unlink(os.path.join(folder, name))


def start(order: dict, folder: str) -> subprocess.Popen:
    with open(os.path.join(folder, "log"), "ab") as log:
        if order["stdin"] is None:
            return run(order, folder, order["server"], log, stdin=subprocess.DEVNULL)
        server = run(order, folder, order["server"], log, stdin=subprocess.PIPE)
    with contextlib.suppress(BrokenPipeError):
        server.stdin.write(order["stdin"].encode())
        server.stdin.close()
    return server


def run(order: dict, folder: str, command: list, log, stdin) -> subprocess.Popen:
    account = {}
    if order["uid"] is not None:
        account = {"user": order["uid"], "group": order["gid"], "extra_groups": []}
    try:
        return subprocess.Popen(
            command, cwd=folder, env=order["environment"], stdin=stdin, stdout=log, stderr=log,
            preexec_fn=before_exec, **account,
        )  # fmt: skip
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error


def before_exec() -> None:
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):  # ignored by us, or by whoever put us in the background
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if sys.platform == "linux":
        # After the change of account, which clears it. SIGQUIT: both servers end at once, without a checkpoint.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGQUIT), 0, 0, 0)


def wait_until_ready(order: dict, server: subprocess.Popen, owner: int) -> None:
    deadline = time.monotonic() + order["seconds"]
    while not is_ready(order["ready"]):
        if server.poll() is not None:
            raise Failed(f"{os.path.basename(order['server'][0])} ended at once, with status {server.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"{os.path.basename(order['server'][0])} was not ready after {order['seconds']} s")
        if owner_is_gone(owner, 0.005):
            sys.exit(0)


def is_ready(how: list) -> bool:
    try:
        if how[0] == "line":
            with open(how[1]) as file:
                lines = file.read().splitlines()
            return len(lines) >= how[2] and lines[how[2] - 1].strip() == how[3]
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(how[1])
        return True
    except OSError:
        return False


def let_children_go_on(server: subprocess.Popen) -> None:
    """Backends that the owner had stopped (see schedule/quiet.py) when it died do not hear that they are to end."""
    with contextlib.suppress(OSError), open(f"/proc/{server.pid}/task/{server.pid}/children") as children:
        for child in children.read().split():
            with contextlib.suppress(OSError):
                os.kill(int(child), signal.SIGCONT)


def stop(server: subprocess.Popen, name: str) -> None:
    # PostgreSQL kills children that do not hear SIGQUIT after 5 s; if it were killed before, they would stay.
    for kind, seconds in ((getattr(signal, name), 5), (signal.SIGQUIT, 7), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + seconds
        while server.poll() is None and time.monotonic() < deadline:
            # Again and again: a server that has just begun does not hear its signals yet.
            server.send_signal(kind)
            let_children_go_on(server)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)


def tail(folder: str | None) -> str:
    with contextlib.suppress(OSError, TypeError), open(os.path.join(folder, "log"), errors="replace") as log:
        return "\n".join(log.read().splitlines()[-12:])
    return ""


if __name__ == "__main__":
    main()
