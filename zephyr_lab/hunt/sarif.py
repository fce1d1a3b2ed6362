"""Races as SARIF 2.1.0 (OASIS, 2020): the form in which code hosts take findings, and show them beside the code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zephyr_lab.hunt.decision import Decision
from zephyr_lab.hunt.found import Found
from zephyr_lab.hunt.patterns import PATTERNS

_PLACE = re.compile(r"(?P<file>.+):(?P<line>\d+)")


def sarif(hunt: Found) -> dict[str, Any]:
    """A log of one run; its rules are the patterns, its results the races."""
    found = hunt.races
    rules = [name for name in PATTERNS if any(one.pattern == name for one in found)]
    driver = {
        "name": "zephyr-lab",
        "version": metadata.version("zephyr-lab"),
        "rules": [
            {"id": name, "shortDescription": {"text": PATTERNS[name]}, "defaultConfiguration": {"level": "error"}}
            for name in rules
        ],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(hunt, one, rules) for one in found]}],
    }


def _result(hunt: Found, one: Decision, rules: list[str]) -> dict[str, Any]:
    assert one.finding
    defined = [hunt.operations[name].place for name in one.operations]
    places = list(_locations([*one.finding.places, *defined]))
    after = f", after {', '.join(one.prefix)}," if one.prefix else ""
    text = [
        f"{' and '.join(one.operations)}{after} race: {one.why}, in the schedule {one.finding.schedule!r} at "
        f"{hunt.isolation}.",
        "", one.finding.timeline, "", one.finding.verdict, *one.finding.explanation,
    ]  # fmt: skip
    result: dict[str, Any] = {
        "ruleId": one.pattern,
        "ruleIndex": rules.index(one.pattern),
        "level": "error",
        "message": {"text": "\n".join(text)},
        "locations": [
            {
                **({"physicalLocation": places[0]} if places else {}),
                "logicalLocations": [{"fullyQualifiedName": name} for name in dict.fromkeys(one.operations)],
            }
        ],
        "partialFingerprints": {"operations/v1": f"{one.pattern}: {' | '.join(sorted(one.operations))}"},
    }
    if places[1:]:
        result["relatedLocations"] = [{"id": at, "physicalLocation": one} for at, one in enumerate(places[1:])]
    return result


def _locations(places: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Of those that are a line of a file."""
    for place in dict.fromkeys(places):
        if found := _PLACE.fullmatch(place):
            yield {"artifactLocation": {"uri": _uri(found["file"])}, "region": {"startLine": int(found["line"])}}


def _uri(file: str) -> str:
    """Of a path: one in the current folder is relative to it."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
