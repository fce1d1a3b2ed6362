"""A hunt as one page: the matrix, whose cells open their counterexamples in the stepper. It needs no other file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

from zephyr_lab.hunt.decision import Decision, Kind
from zephyr_lab.hunt.found import Found
from zephyr_lab.hunt.patterns import PATTERNS
from zephyr_lab.views.story import story

_HERE = Path(__file__).parent
_VIEWS = _HERE.parent / "views"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(hunt: Found) -> str:
    """The whole page; without JavaScript its texts stay, and its links lead to them."""
    shown = [one for one in hunt.decisions.values() if one.pattern or one.kind is not Kind.SAFE]
    numbers = {one.operations: f"d{number}" for number, one in enumerate(shown)}
    stories = {numbers[one.operations]: story(dict(one.finding.transcript)) for one in shown if one.finding}
    styles = "\n".join(_text(path) for path in (_VIEWS / "stepper.css", _HERE / "page.css"))
    scripts = "\n".join(_text(path) for path in (_VIEWS / "stepper.js", _HERE / "page.js"))
    data = json.dumps(stories).replace("<", "\\u003c")
    body = "\n".join([*_heading(hunt), *_matrix(hunt, numbers), *_operations(hunt), *_sections(hunt, shown, numbers)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Races</title><link rel="icon" href="data:,"><style>\n{styles}</style></head>\n<body><main>\n{body}\n'
        f'</main><script type="application/json" id="stories">{data}</script>\n'
        f'<script type="module">\n{scripts}</script></body></html>\n'
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _heading(hunt: Found) -> Iterator[str]:
    counts = ", ".join(f"{number} {kind}" for kind, number in hunt.counts().items() if number)
    yield f"<h1>Races: {escape(counts)}</h1>"
    yield (
        f"<p>{len(hunt.operations)} operations at {escape(hunt.isolation)}, {len(hunt.decisions)} decisions, "
        f"{hunt.seconds:.1f} s. A race is an outcome that no serial order gives; its cell opens the order that shows "
        "it.</p>"
    )
    for note in hunt.notes:
        yield f"<p>{escape(note)}</p>"
    if hunt.interrupted:
        yield "<p>Interrupted: the rest was not hunted.</p>"


def _matrix(hunt: Found, numbers: dict[tuple[str, ...], str]) -> Iterator[str]:
    names = [name for name, one in hunt.operations.items() if one.is_hunted]
    columns = [*hunt.columns()]
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in columns)
    yield f'<div class="scroll"><table class="zephyr-matrix"><thead><tr><td></td>{heads}</tr></thead><tbody>'
    for name in names:
        cells = "".join(_cell(one, numbers) for one in hunt.row(name))
        yield f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _cell(one: Decision | None, numbers: dict[tuple[str, ...], str]) -> str:
    if one is None:
        return "<td>-</td>"
    told = f'<a href="#{at}">{one.kind}</a>' if (at := numbers.get(one.operations)) else str(one.kind)
    return f'<td class="{one.kind}" title="{escape(one.why)}">{told}</td>'


def _operations(hunt: Found) -> Iterator[str]:
    yield "<details><summary>What each operation touches</summary><dl>"
    for name, one in hunt.operations.items():
        place = f" <code>{escape(one.place)}</code>" if one.place else ""
        yield f"<dt>{escape(name)}{place}</dt><dd>{escape(one.text())}</dd>"
    yield "</dl></details>"


def _sections(hunt: Found, shown: list[Decision], numbers: dict[tuple[str, ...], str]) -> Iterator[str]:
    for one in shown:
        title = " with ".join(one.operations) + (f", after {', '.join(one.prefix)}" if one.prefix else "")
        yield f'<section id="{numbers[one.operations]}"><h2>{escape(title)}: {one.kind}</h2>'
        yield f"<p>{escape(one.why)}; {one.schedules:,} schedules, {one.seconds:.1f} s</p>"
        if one.pattern:
            where = f"at <code>{escape(hunt.site(one))}</code>" if one.finding else "was suspected"
            yield f"<p><b>{one.pattern}</b> {where}: {escape(PATTERNS[one.pattern])}</p>"
        if one.finding:
            yield from (f"<p>{escape(line)}</p>" for line in one.finding.explanation)
            text = escape(f"{one.finding.timeline}\n\n{one.finding.verdict}")
            yield f'<div class="stepper"></div><pre>{text}</pre>'
        yield "</section>"
