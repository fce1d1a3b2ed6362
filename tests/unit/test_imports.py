"""What imports what, late imports and those for types included."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_over_others() -> None:
    """A circle is told with its modules."""
    graph = grimp.build_graph("zephyr_lab")
    TopologicalSorter({one: graph.find_modules_directly_imported_by(one) for one in graph.modules}).prepare()
