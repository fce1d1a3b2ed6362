"""Many histories: the same reports, in the order of their files, whoever checks them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zephyr_lab import check
from zephyr_lab.errors import BadInput

GOOD = [
    {"session": 0, "type": "ok", "ops": [["append", "x", 1]]},
    {"session": 1, "type": "ok", "ops": [["r", "x", [1]]]},
]
LOST = [{"session": number, "type": "ok", "ops": [["r", "x", []], ["append", "x", number]]} for number in (1, 2)]
LOST.append({"session": 3, "type": "ok", "ops": [["r", "x", [1, 2]]]})


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.json" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_text("".join(json.dumps(one) + "\n" for one in (LOST if number % 2 else GOOD)))
    return paths


def told(reports: list[check.Report]) -> list[dict[str, object]]:
    return [{**one.to_dict(), "seconds": 0} for one in reports]


def test_workers_say_what_one_process_says(files: list[Path]) -> None:
    alone = list(check.check_all(files, "serializable"))
    assert [one.valid for one in alone] == [True, False] * 3
    with ThreadPoolExecutor(2) as executor:
        assert told(list(check.check_all(files, "serializable", executor=executor))) == told(alone)


@pytest.mark.thorough
def test_processes_do_as_well(files: list[Path]) -> None:
    """Reports travel, with the histories that they explain."""
    alone, two = (list(check.check_all(files, "serializable", jobs=jobs)) for jobs in (1, 2))
    assert told(two) == told(alone)
    assert [str(one) for one in two] == [str(one) for one in alone]


def test_a_file_that_is_no_history_is_said_to_be(files: list[Path]) -> None:
    files[3].write_text("nothing\n")
    with ThreadPoolExecutor(2) as executor, pytest.raises(BadInput, match=r"3\.json"):
        list(check.check_all(files, executor=executor))
