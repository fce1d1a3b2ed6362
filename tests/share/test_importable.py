"""Which functions another file can name, and by what: the expression is evaluated, and gives the function."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import pytest

from tests.share import shop
from zephyr_lab import once
from zephyr_lab.errors import BadInput
from zephyr_lab.options import ExploreOptions
from zephyr_lab.share.importable import Expression, expression, imported


def value(one: Expression) -> Any:
    tops = {module.partition(".")[0] for module in one.modules}
    names = {top: importlib.import_module(top) for top in tops}
    for module in one.modules:
        importlib.import_module(module)
    return eval(one.text, names)


def test_functions_classes_and_partials() -> None:
    for named in (shop.book, BadInput):
        told = expression(named)
        assert told
        assert value(told) is named
    told = expression(partial(shop.book, slot="19:00", amount=-7))
    assert told
    assert told.text == "functools.partial(tests.share.shop.book, slot='19:00', amount=-7)"
    assert value(told).keywords == {"slot": "19:00", "amount": -7}
    told = expression(once(shop.make_slots))
    assert told
    assert value(told).func is shop.make_slots


def local() -> None:
    """Is found by its name until another takes it."""


@pytest.mark.parametrize("other", ["lambda", "closure", "partial of an object", "renamed", "of __main__"])
def test_what_has_no_name_elsewhere(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    def closure() -> None:
        pass

    mine = local
    if other == "renamed":
        monkeypatch.setitem(globals(), "local", closure)
    if other == "of __main__":
        monkeypatch.setattr(closure, "__module__", "__main__")
    one: Any = {
        "lambda": lambda conn: None, "closure": closure, "partial of an object": partial(shop.book, object()),
        "renamed": mine, "of __main__": closure,
    }[other]  # fmt: skip
    assert expression(one) is None
    assert imported({"A": shop.book, "B": one}, [], ExploreOptions()) is None


def test_options_are_written_or_named_as_lost() -> None:
    """Exceptions by their names, a predicate not at all."""
    options = ExploreOptions(ignore=["slots.at"], refusals=["55P03", lambda value: False], faults=["crash"])
    told = imported({"A": shop.book}, ["select 1", once(shop.make_slots)], options)
    assert told
    assert {name: one.text for name, one in told.options.items()} == {"ignore": "['slots.at']", "faults": "['crash']"}
    assert told.lost == ("refusals",)
    told = imported({"A": shop.book}, [lambda conn: None], ExploreOptions(compare={BadInput: shop.book}))
    assert told
    assert told.setup is None
    assert value(told.options["compare"]) == {BadInput: shop.book}
