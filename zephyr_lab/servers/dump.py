"""pg_dump: found, run, and its output as statements."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.carriers import find_postgres
from zephyr_lab.sql.tokens import split

# What belongs to others is not dumped, nor what only a psql understands.
_OPTIONS = (
    "--no-owner", "--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions",
    "--no-security-labels", "--no-tablespaces",
)  # fmt: skip
_SETTING = re.compile(r"(?i)set\s+(session\s+)?\w+\s*=|select\s+pg_catalog\.set_config\('search_path'")


def dump(
    conninfo: str, environment: Mapping[str, str], options: Sequence[str], *, major: int, seconds: float,
    pg_bin: str | None = None,
) -> Iterator[str]:  # fmt: skip
    """The statements of a dump, without settings of the session. The password is given by the environment.

    Raises ServerUnavailable where no pg_dump is as new as `major`, the server's version; subprocess.SubprocessError,
    with what it says, where it fails.
    """
    done = subprocess.run(
        [_program(major, pg_bin), *_OPTIONS, *options, f"--dbname={conninfo}"],
        env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    if done.returncode:
        raise subprocess.SubprocessError(done.stderr.strip())
    text = done.stdout
    if found := re.search(r"(?m)^\\restrict (\w+)$", text):  # since 2025: what psql may not do until it is taken back
        text = re.sub(rf"(?m)^\\(un)?restrict {found[1]}$", "", text)
    return (one for one in split(text) if not _SETTING.match(one))


def _program(major: int, pg_bin: str | None) -> str:
    """A pg_dump that is no older than the server, as it must be."""
    found: list[Path] = []
    with contextlib.suppress(ServerUnavailable):
        found.append(find_postgres(pg_bin).path.with_name("pg_dump"))
    if here := shutil.which("pg_dump"):
        found.append(Path(here))
    for path in found:
        if path.exists():
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
            if (version := re.search(r"\) (\d+)", said)) and int(version[1]) >= major:
                return str(path)
    raise ServerUnavailable(f"there is no pg_dump of version {major} or newer")
