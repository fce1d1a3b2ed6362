"""Colour refinement (Weisfeiler and Leman, 1968): numbers ids by where they are mentioned, not by their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from zephyr_lab.functions.surrogates import Id

Thing = tuple[Any, Any, set[Id]]
"""A row, or a function's result: its place, its parts, and the ids in it."""


def thing(where: Any, made_of: Any) -> Thing:
    return where, made_of, set(ids_in(made_of))


def numbered(things: list[Thing], rows: Collection[Id]) -> dict[Id, int]:
    """Numbers ids that are mentioned elsewhere, too; runs whose ids can be exchanged get equal numbers."""
    mentions = Counter(one for _, made_of, _ in things for one in ids_in(made_of))
    ids = [one for one, times in mentions.items() if times > 1 or one not in rows]
    colours = _ranked({one: one.kind for one in ids})
    while True:
        colours = _stable(colours, things)
        alike = Counter(colours.values())
        several = [one for one in ids if alike[colours[one]] > 1]
        if not several:
            return colours
        # The choice is free: equal names mean equal outcomes in any case.
        least = min(colours[one] for one in several)
        same = [one for one in several if colours[one] == least]
        beside = {one for _, _, within in things if not within.isdisjoint(same) for one in within & colours.keys()}
        meet = any(len(within.intersection(same)) > 1 for _, _, within in things)
        free = not meet and all(alike[colours[one]] == 1 for one in beside.difference(same))
        # If no two of them, nor other equal ones, are mentioned together, all can be numbered at once.
        for place, one in enumerate(same if free else same[:1]):
            colours[one] = len(ids) + place


def ids_in(thing: Any) -> Iterator[Id]:
    if isinstance(thing, Id):
        yield thing
    elif isinstance(thing, tuple | frozenset | list):
        for one in thing:
            yield from ids_in(one)


def _seen(thing: Any, colours: Mapping[Id, int], me: Id) -> Any:
    """The same thing, as seen from one of its ids."""
    if isinstance(thing, Id):
        return "me" if thing == me else f"id {colours[thing]}" if thing in colours else f"some {thing.kind}"
    if isinstance(thing, tuple):
        return tuple(_seen(one, colours, me) for one in thing)
    if isinstance(thing, list):
        return sorted((_seen(one, colours, me) for one in thing), key=repr)
    return repr(thing)


def _ranked(seen: Mapping[Id, Any]) -> dict[Id, int]:
    places = {text: place for place, text in enumerate(sorted({repr(one) for one in seen.values()}))}
    return {one: places[repr(what)] for one, what in seen.items()}


def _stable(colours: dict[Id, int], things: list[Thing]) -> dict[Id, int]:
    """Colours that distinguish ids by their surroundings."""
    while True:
        surroundings: dict[Id, list[str]] = {one: [] for one in colours}
        for where, made_of, within in things:
            for one in within & colours.keys():
                surroundings[one].append(repr((where, _seen(made_of, colours, one))))
        new = _ranked({one: (f"{colours[one]:06}", sorted(seen)) for one, seen in surroundings.items()})
        if len(set(new.values())) == len(set(colours.values())):
            return new
        colours = new
