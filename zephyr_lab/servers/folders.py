"""Creates the server's folder and its files. Part of the supervisor: standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

TYPE_CHECKING = False  # `typing` itself would take longer to import than the rest
if TYPE_CHECKING:
    from typing import Any

LOCK = "owner.lock"


class Unfit(Exception):
    """This folder is not suitable: the next one is tried."""


class Unpatched(Exception):
    """A program that `without_passwd_entry` cannot patch."""


def make_folder(order: dict[str, Any], base: str) -> str:
    """A folder of our own, locked until this process ends. Raises Unfit."""
    folder = os.path.join(base, order["prefix"] + os.urandom(4).hex())
    if len(os.fsencode(os.path.join(folder, ".s.PGSQL.5432.lock"))) > 100:
        raise Unfit("too long for a unix socket's path")
    if not enterable(base, order["uid"], order["gid"]):
        raise Unfit("closed to the account that the server runs as")
    try:
        sweep(base, order["prefix"])
        if room(base) < order["bytes"]:
            raise Unfit(f"{room(base) >> 20} MB free")
        os.mkdir(folder, 0o700)
        # Open until we end. Locked under another name first, so that a sweep never sees a free lock file.
        lock = os.open(os.path.join(folder, "new.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(os.path.join(folder, "new.lock"), os.path.join(folder, LOCK))
    except OSError as error:
        raise Unfit(error.strerror) from error
    return folder


def room(path: str) -> int:
    """Bytes that we can still write there."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def roomy(path: str, size: int) -> bool:
    try:
        return room(path) >= size
    except OSError:
        return False


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
    """Removes folders whose supervisor was killed: their lock is free."""
    for folder in [os.path.join(base, name) for name in os.listdir(base) if name.startswith(prefix)]:
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                continue
            lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(folder)
            finally:
                os.close(lock)


def remove(folder: str) -> None:
    """Removes a folder, if it is there."""
    import shutil  # takes as long to import as all the rest; the server is up by now

    shutil.rmtree(folder, ignore_errors=True)


def copy_programs(source: str, target: str) -> None:
    """Copies a tree or a file."""
    import shutil

    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target)


def hand_over(order: dict[str, Any], folder: str) -> None:
    """Gives the folder to the server's account. The folder itself last, so that no links can be planted before."""
    if order["uid"] is None:
        return
    for root, folders, files in os.walk(folder):
        if root == folder and "data" in folders:
            folders.remove("data")  # belongs to the account already
        for name in folders + files:
            if name not in (LOCK, "log"):
                os.lchown(os.path.join(root, name), order["uid"], order["gid"])
    os.chown(folder, order["uid"], order["gid"])


def without_passwd_entry(how: dict[str, Any]) -> None:
    """Copies of programs that need no user name, in a mirror of their tree that consists of links.

    initdb, and `postgres --boot`, which it runs, require a name for their user id, although they use it only as a
    default for an option that is given. The copies import `getpwent`, which returns the first entry of any user,
    instead of `getpwuid`: two C library functions with names of one length. A running server needs no name.
    `how`: `tree`, `target`, `programs` (paths in the tree), `links` (source, target). Raises Unpatched.
    """
    os.makedirs(how["target"])
    for source, target in how["links"]:
        os.symlink(source, target)
    for program in how["programs"]:
        source, target = how["tree"], how["target"]
        for part in program.split("/"):
            os.makedirs(target, exist_ok=True)
            for name in set(os.listdir(source)) - set(os.listdir(target)):
                if name not in program.split("/"):
                    os.symlink(os.path.join(source, name), os.path.join(target, name))
            source, target = os.path.join(source, part), os.path.join(target, part)
        with open(source, "rb") as file:
            code = file.read()
        if not code.startswith(b"\x7fELF") or code.count(b"\0getpwuid\0") != 1:
            raise Unpatched(f"{source} does not ask for it in the way that we know")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)  # a link, created for its neighbour
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as file:
            file.write(code.replace(b"\0getpwuid\0", b"\0getpwent\0"))
