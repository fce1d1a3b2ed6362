"""Clusters created once by initdb, kept, and copied for every start: 0.05 s instead of 0.5.

Part of the supervisor: standard library only. The folder of kept clusters is used only if it is ours and closed to
others. An entry is a folder, named by all that determines initdb's result: `data`, `password`, and `whole`, the number
of files and bytes that a copy must have, which detects truncated or deleted files. It is created under another name
and renamed.

The password is the same for every copy of an entry. A new one for each start would protect nothing: the socket is open
only to the server's account, which may read the data as well, and the entry only to us, who know the password.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator

from zephyr_lab.servers.folders import remove, room

# Unlike the name of anything else that may be in the folder of ZEPHYR_LAB_CACHE.
KEPT, MAKING, ONE_MAKER = "zephyr-lab-kept-", "zephyr-lab-making-", "zephyr-lab.lock"
MOST, DAYS = 4, 30  # kept entries, and days until an unused one is removed
ROOM = 64 << 20  # bytes that must be free for a new entry
BLOCK, BIG = 1 << 16, 1 << 20


class Damaged(Exception):
    """An entry has changed."""


def take(cache: str, key: str, target: str, uid: int | None, gid: int | None) -> str | None:
    """Copies an entry's data to `target`, for the account; returns its password, or None if there is no such entry."""
    try:
        with inside(cache):
            entry = os.open(key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fchdir(entry)  # it may be replaced meanwhile, with another password
            finally:
                os.close(entry)
            whole, password = read("whole"), read("password")
            if copy_tree("data", target, os.geteuid(), uid, gid) != json.loads(whole):
                raise Damaged
            with contextlib.suppress(OSError):
                os.utime(".")
            return password
    except (OSError, ValueError, Damaged):
        remove(target)
        return None


def keep(cache: str, key: str, data: str, password: str, owner: int) -> None:
    """Stores a cluster whose files belong to `owner` as an entry, if possible."""
    with contextlib.suppress(OSError, Damaged), inside(cache), alone():
        # Their creators are dead, since we hold the lock.
        for name in os.listdir("."):
            if name.startswith(MAKING):
                discard(name)
        if room(".") < ROOM:
            return
        making = f"{MAKING}{os.urandom(4).hex()}"
        try:
            os.mkdir(making)
            whole = copy_tree(data, f"{making}/data", owner, None, None)
            for name, text in (("password", password), ("whole", json.dumps(whole))):
                with open(f"{making}/{name}", "x") as file:
                    file.write(text)
            retire(key)
            os.rename(making, key)
        finally:
            remove(making)
        prune(key)


def forget(cache: str, key: str) -> None:
    """Removes an entry on which no server starts."""
    with contextlib.suppress(OSError, Damaged), inside(cache):
        retire(key)


def retire(key: str) -> None:
    aside = f"{MAKING}{os.urandom(4).hex()}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(key, aside)
        discard(aside)


def discard(name: str) -> None:
    if stat.S_ISDIR(os.lstat(name).st_mode):
        remove(name)
    else:
        os.unlink(name)


def prune(key: str) -> None:
    now = time.time()
    others = [(os.lstat(name).st_mtime, name) for name in os.listdir(".") if name.startswith(KEPT) and name != key]
    for place, (used, name) in enumerate(sorted(others, reverse=True), start=2):
        if place > MOST or now - used > DAYS * 86400:
            retire(name)


@contextlib.contextmanager
def inside(cache: str) -> Iterator[None]:
    """Makes the folder the working directory: its path may be replaced, the working directory cannot."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(cache, 0o700)
    folder = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise Damaged
        os.fchdir(folder)
        yield
    finally:
        os.close(folder)
        os.chdir("/")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Raises BlockingIOError if another process holds the lock."""
    lock = os.open(ONE_MAKER, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def read(name: str) -> str:
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW)) as file:
        return file.read()


def copy_tree(source: str, target: str, owner: int, uid: int | None, gid: int | None) -> list[int]:
    """Copies folders and plain files of `owner`, and gives them to the account; returns the number of files and bytes.

    Raises OSError, and Damaged for any other kind of file. No other user may have access to the parent of `target`.
    """
    files = size = 0

    def refuse(error: OSError) -> None:
        raise error

    for root, _, names, folder in os.fwalk(source, onerror=refuse):
        to = target + root[len(source) :]
        os.mkdir(to, 0o700)
        if uid is not None and gid is not None:
            os.chown(to, uid, gid)
        for name in names:
            # The server's account, or code run by it, could have replaced a file by a link or a pipe.
            one = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                status = os.fstat(one)
                if not stat.S_ISREG(status.st_mode) or status.st_uid != owner or status.st_nlink != 1:
                    raise Damaged
                other = os.open(f"{to}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    if uid is not None and gid is not None:
                        os.fchown(other, uid, gid)
                    copy_file(one, other, status.st_size)
                finally:
                    os.close(other)
            finally:
                os.close(one)
            files, size = files + 1, size + status.st_size
    return [files, size]


def copy_file(one: int, other: int, size: int) -> None:
    """Turns the zeros of a write-ahead log, most of its 16 MB, into a hole, which a later copy skips."""
    if size < BIG:
        if size and not shared(one, other, size):
            write(other, os.read(one, size), 0)
        return
    at = 0
    while (at := next_data(one, at)) < size:
        block = os.pread(one, BLOCK - at % BLOCK, at)
        if block.count(0) != len(block):
            write(other, block, at)
        at += len(block) or size
    os.ftruncate(other, size)


def shared(one: int, other: int, size: int) -> bool:
    """Makes the file system share the blocks if it can; False if it cannot even copy, as to another file system."""
    if not hasattr(os, "copy_file_range") or os.fstat(one).st_dev != os.fstat(other).st_dev:
        return False
    try:
        return os.copy_file_range(one, other, size, 0, 0) == size
    except OSError:
        return False


def next_data(file: int, at: int) -> int:
    """The next data that is not a hole, from `at` on."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except (AttributeError, OSError) as error:
        return 1 << 62 if getattr(error, "errno", None) == errno.ENXIO else at


def write(file: int, block: bytes, at: int) -> None:
    while block:
        written = os.pwrite(file, block, at)
        block, at = block[written:], at + written
