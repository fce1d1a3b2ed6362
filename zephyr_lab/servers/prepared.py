"""A cluster that initdb made once, kept, and copied for every start: 0.05 s instead of 0.5.

Part of the supervisor: standard library only. The folder of kept clusters is used only where it is ours and closed to
everybody else. An entry is a folder, named by all that decides what initdb makes: `data`, `password`, and `whole`,
which says how many files and bytes a copy must count, and so notices what was cut short or cleaned away. It is made
under another name and renamed.

The password is the entry's, and the same for every copy. One for each start would protect nobody: the socket is open
to the server's account alone, which may read the data as well, and the entry to us alone, who hand the password out.
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

# No name of anything else that somebody may have in the folder that ZEPHYR_LAB_CACHE names.
KEPT, MAKING, ONE_MAKER = "zephyr-lab-kept-", "zephyr-lab-making-", "zephyr-lab.lock"
MOST, DAYS = 4, 30  # entries that are kept, and how long one that is not used
ROOM = 64 << 20  # bytes that must be free for another
BLOCK, BIG = 1 << 16, 1 << 20


class Damaged(Exception):
    """What is there is not what was put there."""


def take(cache: str, key: str, target: str, uid: int | None, gid: int | None) -> str | None:
    """Copies an entry's data to `target`, for the account; gives its password, or None where there is no such entry."""
    try:
        with inside(cache):
            entry = os.open(key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fchdir(entry)  # another may come to its place meanwhile, with another password
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
    """Makes an entry of a cluster whose files belong to `owner`; where that cannot be, there is none."""
    with contextlib.suppress(OSError, Damaged), inside(cache), alone():
        # Whoever made these is dead, since we are alone.
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
    """Removes an entry that no server comes up on."""
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
    """With the folder as working directory: what is at its path may change, what we are in does not."""
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
    """Raises BlockingIOError where another process is at it."""
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
    """Copies folders and plain files of `owner`, and gives them to the account; gives the number of files and bytes.

    Raises OSError, and Damaged for anything else in there. Nobody else may be able to enter what `target` is in.
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
            # The server's account, or what runs as it, could have put a link or a pipe in the place of a file.
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
    """A write-ahead log's 16 MB are nearly all zeros: those become a hole, which a later copy passes over."""
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
    """Lets the file system share the blocks, where it can; False where it does not even copy, as to another one."""
    if not hasattr(os, "copy_file_range") or os.fstat(one).st_dev != os.fstat(other).st_dev:
        return False
    try:
        return os.copy_file_range(one, other, size, 0, 0) == size
    except OSError:
        return False


def next_data(file: int, at: int) -> int:
    """Where there is something else than a hole, from `at` on."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except (AttributeError, OSError) as error:
        return 1 << 62 if getattr(error, "errno", None) == errno.ENXIO else at


def write(file: int, block: bytes, at: int) -> None:
    while block:
        written = os.pwrite(file, block, at)
        block, at = block[written:], at + written
