"""A counterexample as a pytest test, which fails as long as the schedule is anomalous.

Functions that can be imported are run themselves; of others the test holds the spec, and judges what is in it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from zephyr_lab.share.importable import Expression, Imported
from zephyr_lab.share.recorded import Recorded
from zephyr_lab.share.spec_text import spec_text

_QUOTES = '"""'


def as_test(recorded: Recorded, name: str) -> str:
    """The text of a module of tests; `name` is what it is to be called. Raises BadInput as `spec_text` does."""
    if recorded.imported:
        return "\n".join(_of_functions(recorded, recorded.imported))
    return "\n".join(_of_spec(recorded))


def _docstring(recorded: Recorded, more: str) -> Iterator[str]:
    said = f"{recorded.title}, on {recorded.server}: {recorded.claim}."
    yield _QUOTES + _plain(said)
    yield from ("", *textwrap.wrap(_plain(more), 100), "")
    yield from (f"    {_plain(line)}".rstrip() for line in str(recorded.verdict.transcript).splitlines()[1:])
    yield from ("", *(f"    {_plain(line)}".rstrip() for line in _judged(recorded)), _QUOTES, "")


def _judged(recorded: Recorded) -> list[str]:
    shown, _ = recorded.verdict.of_what_differs()
    return [*str(shown).splitlines(), *recorded.explanation]


def _plain(text: str) -> str:
    """As it can stand in a docstring."""
    return text.replace("\\", "\\\\").replace(_QUOTES, "'''")


def _of_functions(recorded: Recorded, imported: Imported) -> Iterator[str]:
    more = "Run it by pytest with zephyr_lab, which has the fixture `zephyr`. The functions are run as they are now."
    if imported.lost:
        more += f" Left out, since it cannot be written here: {', '.join(f'{name}=' for name in imported.lost)}."
    if imported.setup is None:
        more += " SETUP is what the setup had made."
    yield from _docstring(recorded, more)
    setup = imported.setup if imported.setup is not None else ["\n".join(recorded.spec.setups)]
    parts = [*imported.functions.values(), *setup, *imported.options.values()]
    modules = {module for one in parts if isinstance(one, Expression) for module in one.modules}
    yield from (f"import {module}" for module in sorted(modules))
    texts = [_literal(one) for one in setup]
    yield ""
    yield from (f"SETUP = {texts[0] if len(texts) == 1 else '[' + ', '.join(texts) + ']'}", "", "")
    functions = ", ".join(f"{name!r}: {one.text}" for name, one in imported.functions.items())
    yield f"def test_{_words(recorded)}(zephyr):"
    yield "    verdict = zephyr.lab.replay("
    yield from (f"        {{{functions}}},", f"        {recorded.schedule!r},", "        setup=SETUP,")
    yield f"        isolation={str(recorded.isolation)!r},"
    yield from (f"        {name}={one.text}," for name, one in imported.options.items())
    yield from ("    )", *_assertion(recorded))


def _of_spec(recorded: Recorded) -> Iterator[str]:
    more = (
        "Run it by pytest with zephyr_lab, which has the fixture `zephyr`. The statements are those of this schedule: "
        "a change of the code is not seen here, but one of the level, of the tables, or of a statement in SPEC is."
    )
    yield from _docstring(recorded, more)
    yield from (f"SPEC = {_literal(spec_text(recorded, 'counterexample.spec'))}", "", "")
    whole = ", whole_sessions=True" if recorded.whole_sessions else ""
    yield f"def test_{_words(recorded)}(zephyr, tmp_path):"
    yield '    file = tmp_path / "counterexample.spec"'
    yield '    file.write_text(SPEC, encoding="utf-8")'
    yield f"    case = zephyr.lab.case(file, {str(recorded.isolation)!r})"
    yield f"    verdict = case.verdict({recorded.spec_schedule!r}{whole})"
    yield from _assertion(recorded)


def _assertion(recorded: Recorded) -> Iterator[str]:
    refused = str(recorded.verdict.kind).startswith("aborts")
    wrong = f"verdict.kind != {str(recorded.verdict.kind)!r}" if refused else "not verdict.anomalous"
    yield f'    assert {wrong}, f"\\n{{verdict.transcript}}\\n\\n{{verdict}}"'
    yield ""


def _words(recorded: Recorded) -> str:
    said = f"{recorded.spec.name} {recorded.schedule}"
    return "_".join(re.findall(r"[a-z0-9]+", said.lower())[:20])


def _literal(part: str | Expression) -> str:
    """Text as a literal, over several lines if it has any; an expression as it is."""
    if isinstance(part, Expression):
        return part.text
    if "\n" not in part:
        return repr(part)
    text = part.replace("\\", "\\\\").replace(_QUOTES, r"\"\"\"")
    return _QUOTES + "\\\n" + (text[:-1] + r"\"" if text.endswith('"') else text) + _QUOTES
