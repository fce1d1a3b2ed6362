"""Where `sql/`, `data/`, `docs/`, notebooks and samples are: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """The path of a file that travels with the package, e.g. `shipped("sql", "schedules")`."""
    inside = _PACKAGE / "_shipped"
    return (inside if inside.is_dir() else _PACKAGE.parent).joinpath(*parts)


# The one page outside of their folder that notebooks link to travels with them.
_LINKED = "../docs/strategies.md"


def copy_out(name: str, folder: Path) -> tuple[list[Path], list[Path]]:
    """Copies a folder's files and what they link to. Returns those written, and those kept because they differ."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    kept: list[Path] = []
    linked = shipped(*Path(_LINKED).parts[1:])
    files = shipped(*name.split("/")).iterdir()
    sources = sorted(path for path in files if path.is_file() and not path.name.startswith("."))
    if any(_LINKED.encode() in source.read_bytes() for source in sources):
        sources.append(linked)
    for source in sources:
        target = folder / source.name
        content = source.read_bytes().replace(_LINKED.encode(), linked.name.encode())
        if not target.exists():
            target.write_bytes(content)
            written.append(target)
        elif target.read_bytes() != content:
            kept.append(target)
    return written, kept
