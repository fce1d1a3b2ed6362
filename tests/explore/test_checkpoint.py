"""Files of searches: for which one they are, and that reading one runs no code."""

from __future__ import annotations

import os
import pickle
from decimal import Decimal
from pathlib import Path

import pytest

from zephyr_lab.errors import BadInput
from zephyr_lab.explore.checkpoint import Checkpoint, header
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.pieces import Pieces
from zephyr_lab.servers.embedded import Supervised

ABOUT = {"case": "counting", "isolation": "serializable", "sessions": ("A", "B")}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "search"
    one = Checkpoint(path, ABOUT)
    assert one.read() is None
    assert header(path) is None
    one.write(Pieces.of(range(3)))  # not yet: it was begun a moment ago
    assert not path.exists()
    one.write(Pieces.of(range(3)), at_once=True)
    assert one.read() == Pieces.of(range(3))
    assert (header(path) or {})["case"] == "counting"
    assert [file.name for file in tmp_path.iterdir()] == ["search"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"nothing", "is no checkpoint"),
        (b"{}\n", "is no checkpoint"),
        (b'{"form": 1}\n', "another search: zephyr_lab is None there"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "search"
    path.write_bytes(text)
    with pytest.raises(BadInput, match=said):
        Checkpoint(path, ABOUT).read()
    assert path.read_bytes() == text


def _pickled(held: object) -> bytes:
    """Also where pickle itself would find out that the name is another module's."""
    if isinstance(held, Borrowed):
        return b"\x80\x04czephyr_lab.explore.parallel\nWorkers\n)R."
    return pickle.dumps(held)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made-by-a-checkpoint",)


class Borrowed:
    """A name that a module of plain data has imported."""


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (Evil(), "it holds posix.mkdir"),
        (header, "which is no class"),
        (Supervised, "it holds zephyr_lab.servers.embedded.Supervised"),
        (Borrowed(), r"it holds zephyr_lab.explore.parallel.Workers"),
        ([Decimal(1)], "holds no search"),
    ],
    ids=["code", "a function of the lab's", "a class that does something", "by another module", "something else"],
)
def test_a_file_that_holds_anything_else_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: object, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "search"
    one = Checkpoint(path, ABOUT)
    one.write(Pieces(), at_once=True)
    first = path.read_bytes().split(b"\n")[0]
    path.write_bytes(first + b"\n" + _pickled(held))
    with pytest.raises(BadInput, match=said):
        one.read()
    assert [file.name for file in tmp_path.iterdir()] == ["search"]
    path.write_bytes(first + b"\n" + pickle.dumps(Pieces())[:-20])
    with pytest.raises(BadInput, match="cannot be read as a checkpoint"):
        one.read()


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: No such file or directory"):
        Checkpoint(tmp_path / "none" / "search", ABOUT).write(Pieces(), at_once=True)
    with pytest.raises(BadInput, match="there is no folder for the checkpoint"):
        Checkpoint(tmp_path / "none" / "search", ABOUT).read()


def test_what_could_not_be_read_again_is_said_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "search"
    kept = Pieces()
    kept.found[(0,)] = Exploration("x", "read committed", undecided_because={"x": Path("x")})  # type: ignore[dict-item]
    with pytest.raises(BadInput, match="cannot be kept in a checkpoint: it holds pathlib"):
        Checkpoint(path, ABOUT).write(kept, at_once=True)
    assert not path.exists()
