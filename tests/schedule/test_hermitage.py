"""Tests documented in Markdown, replayed; the examples are the lab's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput

TEXT = """\
Slots and their roubles
=======================

Setup, before every test:

```sql
create table slots (id int primary key, booked int);
insert into slots values (1, 10), (2, 20);
```

Something that is no test:

```sql
select 1;
```

Writing
-------

Read committed lets the second writer wait:

```sql
begin; set transaction isolation level read committed; -- T1
begin; set transaction isolation level read committed; -- T2
update slots set booked = 11 where id = 1; -- T1
update slots set booked = 12 where id = 1; -- T2, BLOCKS
commit; -- T1. This unblocks T2
select * from slots; -- T1. Shows 1 => 11, 2 => 20
commit; -- T2
select * from slots; -- either. Now shows 1 => 12
```

Repeatable read sends the second writer away:

```sql
begin; set transaction isolation level repeatable read; -- T1
begin; set transaction isolation level repeatable read; -- T2
select * from slots where id = 3; -- T2. Returns nothing
update slots set booked = 11 where id = 1; -- T1
update slots set booked = 12 where id = 1; -- T2, BLOCKS
commit; -- T1. T2 now prints out "ERROR: could not serialize access due to concurrent update"
abort;  -- T2. There's nothing else we can do
insert into slots values (1, 0); -- T1. Prints "ERROR: duplicate key value violates unique constraint"
```
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.md"
    path.write_text(text)
    return path


def test_what_is_documented_and_so_is_confirmed(lab: Lab, tmp_path: Path) -> None:
    """Waits, rows, errors, and who wakes whom."""
    compared = lab.hermitage(written(tmp_path, TEXT))
    assert [(test.title, differences) for test, differences in compared] == [
        ("Read committed lets the second writer wait", []),
        ("Repeatable read sends the second writer away", []),
    ]


@pytest.mark.parametrize(
    ("documented", "instead", "said"),
    [
        ("T2, BLOCKS", "T2", "documented not to block, waits for T1"),
        ("-- T1. Shows 1 => 11, 2 => 20", "-- T1. Shows 1 => 99", "documented to show 1 => 99"),
        ("-- T1. Shows 1 => 11, 2 => 20", "-- T1. Returns nothing", "documented to return nothing"),
        ("-- T2. Returns nothing", "-- T2. Returns the new row", "documented to return rows"),
        ("This unblocks T2", "This unblocks T3", "documented to let T3 go on"),
        ("could not serialize access", "deadlock detected", "documented to be told '40P01'"),
        (' Prints "ERROR: duplicate', ' Finds "a duplicate', "was told 23505, and no error is documented"),
        ("-- T1. Shows 1 => 11, 2 => 20", '-- T1. Prints "ERROR: no"', "and was told no error"),
    ],
)
def test_what_is_documented_and_not_so_is_told(
    lab: Lab, tmp_path: Path, documented: str, instead: str, said: str
) -> None:
    """With the step and its session."""
    compared = lab.hermitage(written(tmp_path, TEXT.replace(documented, instead, 1)))
    differences = [difference for _, found in compared for difference in found]
    assert len(differences) == 1, differences
    assert said in differences[0]


def test_a_file_without_tests_is_refused(lab: Lab, tmp_path: Path) -> None:
    """So is a line of a test that names no session."""
    for text, said in (
        ("# nothing", "no SQL block"),
        (TEXT.replace("; -- T2, BLOCKS", ";", 1), "does not end in its session"),
    ):
        with pytest.raises(BadInput, match=said):
            lab.hermitage(written(tmp_path, text))
    with pytest.raises(BadInput, match="cannot read"):
        lab.hermitage(tmp_path / "missing.md")


@pytest.mark.server
def test_the_command_says_how_many_are_as_documented(tmp_path: Path) -> None:
    """And its exit tells whether all are."""
    program = Path(sys.executable).with_name("zephyr-lab")
    for text, status, said in (
        (TEXT, 0, "2 of 2 tests (16 steps)"),
        (TEXT.replace("=> 11,", "=> 9,"), 1, "1 of 2 tests"),
    ):
        done = subprocess.run(
            [program, "hermitage", written(tmp_path, text)], capture_output=True, text=True, env=os.environ, timeout=60
        )
        assert done.returncode == status
        assert said in done.stdout
