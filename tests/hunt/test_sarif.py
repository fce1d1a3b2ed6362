"""SARIF 2.1.0, by the parts of its schema that are required, and those that code hosts need."""

from __future__ import annotations

import json
from pathlib import Path

from tests.hunt.made import hunt, race, safe

FOUND = hunt(
    race("book", "book"), race("add", "book", places=("cell line 3",)), race("add", "add", places=()),
    safe("book", "look"),
)  # fmt: skip


def test_a_log_has_a_run_with_its_tool_rules_and_results() -> None:
    log = json.loads(json.dumps(FOUND.to_sarif()))
    assert (log["version"], log["$schema"].endswith("sarif-2.1.0.json")) == ("2.1.0", True)
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "zephyr-lab"
    assert driver["version"]
    assert [rule["id"] for rule in driver["rules"]] == ["read-then-write"]
    assert driver["rules"][0]["shortDescription"]["text"].endswith(".")
    assert len(run["results"]) == 3
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
        assert "'book book-2'" in result["message"]["text"]
        assert len(result["locations"]) == 1


def test_a_result_is_at_its_first_line_and_related_to_the_others() -> None:
    result = FOUND.to_sarif()["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "shop.py"}, "region": {"startLine": 22}
    }  # fmt: skip
    related = [one["physicalLocation"]["region"]["startLine"] for one in result["relatedLocations"]]
    assert related == [23, 1]
    assert result["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "book"}]


def test_where_no_line_of_a_file_is_known_it_is_that_of_an_operation_or_none() -> None:
    at_definition, nowhere = FOUND.to_sarif()["runs"][0]["results"][1:]
    assert at_definition["locations"][0]["physicalLocation"]["region"]["startLine"] == 1
    assert "relatedLocations" not in at_definition
    assert nowhere["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "add"}]}]


def test_a_fingerprint_does_not_depend_on_the_order_of_the_operations() -> None:
    one, other = (hunt(race(*names)).to_sarif()["runs"][0]["results"][0] for names in (("a", "b"), ("b", "a")))
    assert one["partialFingerprints"] == other["partialFingerprints"]


def test_a_path_is_relative_to_the_current_folder_or_a_uri() -> None:
    here, there = str(Path.cwd() / "a shop.py"), "/nowhere/shop.py"
    found = hunt(race("book", "add", places=(f"{here}:3", f"{there}:4"))).to_sarif()["runs"][0]["results"][0]
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20shop.py"
    assert found["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "file:///nowhere/shop.py"
