"""Functions are short and have few branches; the exceptions are named, each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import zephyr_lab

LINES, DECISIONS = 50, 15
"""A function has fewer lines than that, its signature and docstring included, and no more decisions."""
LOOSE = 8
"""So many modules at most are in no package."""

ROOT = Path(zephyr_lab.__file__).parent

LONG = {
    "lab/lab.py Lab.explore": "its fifteen options and what each does are one signature and one docstring",
}
BRANCHY = {
    "check/records.py _explain_op": "all that can be wrong with an operation, one after another",
    "check/cycles.py Finder.around": "the loop in which a search spends its time, on local variables",
    "course/observed.py _diagnoses": "a case for each mistake, in the order in which they are told",
    "explore/effect.py Effects._took": "each kind of access beside the others, by which independence is decided",
    "functions/memory.py _Picture._inside": "a case for each kind of object, and nothing between them",
    "functions/values.py _Reader._error": "a case for each library's errors, in the order of precedence",
    "functions/values.py _Reader._read": "a case for each kind of value, in the order of precedence",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
_ONE_EACH = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


def functions(source: str) -> Iterator[tuple[str, Function]]:
    """Every function of a module with its name in it: `Class.method`, `outer.inner`."""
    waiting: list[tuple[str, ast.AST]] = [("", ast.parse(source))]
    while waiting:
        name, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            inside = f"{name}.{child.name}".lstrip(".") if isinstance(child, Function | ast.ClassDef) else name
            if isinstance(child, Function):
                yield inside, child
            waiting.append((inside, child))


def lines(function: Function) -> int:
    """From `def` to its last line."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def decisions(function: Function) -> int:
    """if, elif, for, while, except, case, and, or, and each if of a comprehension; functions inside have their own."""
    count, waiting = 0, list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.ClassDef):
            continue
        count += isinstance(node, _ONE_EACH)
        count += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        count += len(node.ifs) if isinstance(node, ast.comprehension) else 0
        waiting += ast.iter_child_nodes(node)
    return count


def in_the_package() -> dict[str, Function]:
    """By the module's path and the function's name; of several with one name (overloads, properties) the longest."""
    found: dict[str, Function] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for name, function in functions(path.read_text(encoding="utf-8")):
            key = f"{path.relative_to(ROOT).as_posix()} {name}"
            found[key] = max(found.get(key, function), function, key=lines)
    return found


def test_few_modules_are_loose() -> None:
    """A new one belongs in a package; `python -m zephyr_lab` wants one here."""
    loose = [path.stem for path in ROOT.glob("*.py") if path.stem != "__main__"]
    assert len(loose) <= LOOSE, loose


def test_functions_are_short() -> None:
    """Those named are the only ones, and each of them is still long."""
    assert {name for name, one in in_the_package().items() if lines(one) >= LINES} ^ LONG.keys() == set()


def test_functions_decide_little() -> None:
    """Those named are the only ones, and each of them still decides much."""
    assert {name for name, one in in_the_package().items() if decisions(one) > DECISIONS} ^ BRANCHY.keys() == set()


def test_lines_and_decisions_are_counted_as_said() -> None:
    """Of a function that has each of them once, and one inside that counts for itself."""
    source = '''
class Outer:
    def method(self, values):
        """Two lines,
        counted."""
        def inner():
            if values:
                return 1
        for one in [two for two in values if two]:
            while one and two:
                try:
                    pass
                except ValueError:
                    pass
        match values:
            case 1:
                pass
            case _:
                pass
        if values:
            pass
        elif not values:
            pass
'''
    found = dict(functions(source))
    assert found.keys() == {"Outer.method", "Outer.method.inner"}
    assert {name: (lines(one), decisions(one)) for name, one in found.items()} == {
        "Outer.method": (21, 9),
        "Outer.method.inner": (3, 1),
    }
