"""The picture in ARCHITECTURE.md, from the imports: `python -m tests.architecture` writes it, a test compares."""

from __future__ import annotations

import re
from pathlib import Path

import grimp

PAGE = Path(__file__).parents[1] / "ARCHITECTURE.md"
_PICTURE = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def picture() -> str:
    """Packages and modules at the top, each with an arrow to what it imports, unless that is imported on the way."""
    graph = grimp.build_graph("zephyr_lab")
    tops = sorted(graph.find_children("zephyr_lab"))
    imports = {
        one: {
            other
            for other in tops
            if other != one and graph.direct_import_exists(importer=one, imported=other, as_packages=True)
        }
        for one in tops
    }
    lines = ["```mermaid", "graph TD"]
    for one in tops:
        on_the_way = set[str]().union(*(_reached(other, imports) for other in imports[one]))
        lines += [f"  {_short(one)} --> {_short(other)}" for other in sorted(imports[one] - on_the_way)]
    return "\n".join([*lines, "```"])


def _reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [*imports[start]]
    while todo:
        if (one := todo.pop()) not in found:
            found.add(one)
            todo += imports[one]
    return found


def _short(module: str) -> str:
    return module.removeprefix("zephyr_lab.")


def page_with(drawn: str) -> str:
    """ARCHITECTURE.md with this picture in the place of its own."""
    return _PICTURE.sub(lambda _: drawn, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page_with(picture()), encoding="utf-8")
