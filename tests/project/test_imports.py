"""What imports what, late imports and those for types included."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp

from tests.architecture import PAGE, page_with, picture


def test_no_module_imports_itself_over_others() -> None:
    """A circle is told with its modules."""
    graph = grimp.build_graph("zephyr_lab")
    TopologicalSorter({one: graph.find_modules_directly_imported_by(one) for one in graph.modules}).prepare()


def test_the_picture_of_the_architecture_is_of_these_imports() -> None:
    """`python -m tests.architecture` draws it anew."""
    assert PAGE.read_text(encoding="utf-8") == page_with(picture())
    assert "  explore --> schedule\n" in picture()
