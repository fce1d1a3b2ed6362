"""Functions that are named in a shell, of files and modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hunt import shop
from zephyr_lab.errors import BadInput
from zephyr_lab.hunt.named import functions_named, setup_of

SOURCE = """
def book(conn): ...
def cancel(conn): ...
def make(conn): ...
ALL = {"a": book, "b": cancel}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of this name; it is forgotten in the end."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "a_small_shop.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("a_small_shop", None)


def test_functions_of_a_file_by_name_and_a_mapping_by_its_own(file: Path) -> None:
    assert list(functions_named([f"{file}:book,cancel"])) == ["book", "cancel"]
    assert [one.__name__ for one in functions_named([f"{file}:ALL"]).values()] == ["book", "cancel"]


def test_functions_of_a_module() -> None:
    assert functions_named(["tests.hunt.shop:book", "tests.hunt.shop:add,book"]) == {"book": shop.book, "add": shop.add}


def test_a_setup_is_files_of_sql_functions_and_sql(file: Path) -> None:
    sql = file.with_name("schema.sql")
    sql.write_text("create table t (a int)")
    found = setup_of([str(sql), "insert into t values ('a:b')", f"{file}:make"])
    assert found[:2] == ["create table t (a int)", "insert into t values ('a:b')"]
    assert callable(found[2])
    with pytest.raises(BadInput, match=r"cannot read the setup none\.sql: No such file"):
        setup_of(["none.sql"])


WRONG = {
    "no name": ("shop.py", r"'shop\.py' names no function: functions are named as in shop\.py:book,cancel"),
    "no file": ("none.py:book", r"there is no file none\.py"),
    "no module": ("none_at_all:book", "cannot import none_at_all: ModuleNotFoundError"),
    "no function": ("tests.hunt.shop:boook", "has no function 'boook'; there are: .*book, look, move"),
    "no callable": ("tests.hunt.shop:SETUP", "has no function 'SETUP'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_named(what: str) -> None:
    target, said = WRONG[what]
    with pytest.raises(BadInput, match=said):
        functions_named([target])


def test_a_file_named_as_another_module_and_a_name_of_two_functions_are_refused(file: Path) -> None:
    taken = file.with_name("json.py")
    taken.write_text(SOURCE)
    with pytest.raises(BadInput, match=r"json\.py has the name of another module, .*: give it one of its own"):
        functions_named([f"{taken}:book"])
    with pytest.raises(BadInput, match="two functions are called 'book': give a mapping"):
        functions_named([f"{file}:book", "tests.hunt.shop:book"])


def test_what_a_file_raises_as_it_is_imported_is_said(file: Path) -> None:
    file.write_text("1 / 0")
    with pytest.raises(BadInput, match=r"cannot import .*a_small_shop\.py: ZeroDivisionError: division by zero"):
        functions_named([f"{file}:book"])
