"""Jepsen's workloads whose operations are no transactions: what these are called, and what their reads give."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from zephyr_lab.errors import BadInput

OTHERS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "bank": (frozenset({"read", "transfer"}), frozenset({"dict"})),
    "set-full": (frozenset({"read", "add"}), frozenset({"list"})),
    "counter": (frozenset({"read", "add"}), frozenset({"int"})),
    "linearizable-register": (frozenset({"read", "write", "cas"}), frozenset({"int", "str", "list", "NoneType"})),
    "long-fork": (frozenset({"read", "write"}), frozenset({"list"})),
    "monotonic": (frozenset({"read", "inc"}), frozenset({"int", "dict"})),
}
"""By workload: the names of its operations, and the types of the values that its reads give."""


def client(event: Mapping[str, Any], where: str) -> int | str | None:
    """The process of an event; None for Jepsen's own, the nemesis, which breaks what the others use, and for a remark.
    Raises BadInput."""
    process = event.get("process", 0)
    if isinstance(process, str) and process.startswith("nemesis"):
        return None
    if isinstance(process, int | str):
        return process
    if event["type"] == "info":
        return None
    raise BadInput(f"{where}: process {process!r:.40}; it is a number or a name")


def advice(names: Set[str], kinds: Set[str]) -> str:
    """What to do about a history whose operations are called so; `kinds`: the types of what its reads gave."""
    fitting = [one for one, (known, types) in OTHERS.items() if names <= known and kinds <= types]
    if not fitting:
        known = "; ".join(f"{one} ({', '.join(sorted(known))})" for one, (known, _) in OTHERS.items())
        return f"no workload is known for these; known are {known}"
    return f"a history of {fitting[0]} operations: use --workload {' or '.join(fitting)}"
