"""Planted races, each found in its pair of requests, and none where the same shop is mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hunt.planted import mended, node, shop
from tests.hunt.planted.models import SCHEMA, UNIQUE
from tests.wire.services import node_service
from zephyr_lab import Lab

HERE = Path(__file__).parent
OF_ONE_TABLE = ("ann-leaves", "ann-leaves"), ("bob-leaves", "bob-leaves"), ("plant", "plant"), ("clear-shelf",) * 2
SAFE = ("sell", "sell"), ("pay", "pay"), *OF_ONE_TABLE

pytestmark = pytest.mark.xdist_group("services")


def races(lab: Lab, requests: dict[str, Any], setup: str) -> set[tuple[str, ...]]:
    """Those that a hunt finds unaided; everything else is decided. The shops keep nothing in memory."""
    found = lab.hunt(requests, setup=setup, reduction=True)
    assert (found.undecided, found.unhunted, found.interrupted) == ([], [], False)
    assert len(found.decisions) == len(requests) * (len(requests) + 1) // 2
    return {one.operations for one in found.races}


def anomalous(lab: Lab, requests: dict[str, Any], pair: tuple[str, ...], setup: str) -> int:
    one, other = pair
    found = lab.explore({f"{one}-1": requests[one], f"{other}-2": requests[other]}, setup=setup, shrink=False)
    assert (found.complete, found.run.undecided, found.raised_only()) == (True, 0, {})
    return found.anomalous


@pytest.fixture(scope="module")
def racing(lab: Lab) -> Iterator[dict[str, Any]]:
    with lab.app(shop.create_app(lab.wire.url("postgresql+asyncpg"), lab.wire.redis_url)) as app:
        yield shop.operations(app)


@pytest.fixture(scope="module")
def safe(lab: Lab) -> Iterator[dict[str, Any]]:
    with lab.app(mended.create_app(lab.wire.url("postgresql+asyncpg"), lab.wire.redis_url)) as app:
        yield shop.operations(app)


@pytest.fixture(scope="module", params=[False, True], ids=["racing", "mended"])
def on_node(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    command = node_service(tmp_path_factory.mktemp("shop"), HERE / "planted" / "shop.js")
    with lab.service(command, redis=False) as service:
        yield request.param, node.operations(service, request.param)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", shop.RACES)
def test_each_race_is_one_and_mended_is_none(lab: Lab, racing: dict[str, Any], safe: dict[str, Any], kind: str) -> None:
    assert anomalous(lab, racing, shop.RACES[kind], SCHEMA) > 0
    assert anomalous(lab, safe, shop.RACES[kind], SCHEMA + UNIQUE) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("pair", SAFE, ids=" ".join)
def test_what_looks_like_a_race_is_none(
    lab: Lab, racing: dict[str, Any], safe: dict[str, Any], pair: tuple[str, str]
) -> None:
    assert anomalous(lab, racing, pair, SCHEMA) == 0
    assert anomalous(lab, safe, pair, SCHEMA + UNIQUE) == 0


@pytest.mark.thorough
def test_those_of_the_shop_in_node(lab: Lab, on_node: tuple[bool, dict[str, Any]]) -> None:
    is_mended, requests = on_node
    pairs = [*node.RACES.values(), ("sell", "sell"), ("sell", "stock")]
    found = {pair for pair in pairs if anomalous(lab, requests, pair, node.SETUP)}
    assert found == (set() if is_mended else set(node.RACES.values()))


def test_a_hunt_finds_the_races_of_some_requests(lab: Lab, racing: dict[str, Any]) -> None:
    some = {name: racing[name] for name in ("points", "sell", "visit")}
    assert races(lab, some, SCHEMA) == {("points",) * 2, ("visit",) * 2}


@pytest.mark.thorough
def test_a_hunt_finds_nine_of_nine(lab: Lab, racing: dict[str, Any]) -> None:
    """And no other one among 91 pairs."""
    assert races(lab, racing, SCHEMA) == set(shop.RACES.values())


@pytest.mark.thorough
def test_a_hunt_finds_none_where_there_is_none(lab: Lab, safe: dict[str, Any]) -> None:
    assert races(lab, safe, SCHEMA + UNIQUE) == set()


@pytest.mark.thorough
def test_a_hunt_finds_four_of_four_in_node(lab: Lab, on_node: tuple[bool, dict[str, Any]]) -> None:
    is_mended, requests = on_node
    assert races(lab, requests, node.SETUP) == (set() if is_mended else set(node.RACES.values()))


@pytest.mark.thorough
def test_races_by_primary_keys_are_written_as_histories(lab: Lab, racing: dict[str, Any], tmp_path: Path) -> None:
    """As an ORM asks, by a driver that sends values in binary."""
    some = {name: racing[name] for name in ("points", "edit", "seat")}
    found = lab.hunt(some, setup=SCHEMA, reduction=True, history=tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["edit+edit.edn", "points+points.edn"]
    said = {one.operations: one.finding.exports[0] for one in found.races if one.finding}
    names = "not valid at serializable: lost-update, G-single-item"
    assert [names in said[name, name] for name in some] == [True, True, False]
    assert "SELECT count(*) AS count_1 FROM seats" in said["seat", "seat"]
