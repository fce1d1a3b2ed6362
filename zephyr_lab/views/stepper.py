"""Transcripts to step through in the browser: lanes, waiting, snapshots; forward, back, play; level and schedule.

Everything is computed beforehand (`story`) and travels with the widget as a list, so that it works without a kernel
and in a static page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import anywidget
import traitlets

from zephyr_lab.views.story import story

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_HERE = Path(__file__).parent
_CELL = "padding: 3px 10px; text-align: left; vertical-align: top; border: 1px solid #8c959f"


class SomeTranscript(Protocol):
    """An object with the JSON and text forms of a transcript."""

    def to_dict(self) -> dict[str, Any]: ...


class Stepper(anywidget.AnyWidget):
    """Stories to choose from, one for each level and schedule. Keys: arrows, Home, End, P for play.

    `runs` holds `story.story()` of each transcript, or `{"level", "schedule", "refused"}` for a schedule that is not
    possible at that level.
    """

    _esm = (_HERE / "stepper.js").read_text(encoding="utf-8")
    _css = (_HERE / "stepper.css").read_text(encoding="utf-8")
    runs: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    at_end = traitlets.Bool().tag(sync=True)

    def __init__(self, runs: Sequence[dict[str, Any]], text: str, at_end: bool = False) -> None:
        super().__init__(runs=list(runs), at_end=at_end)
        self._text = text

    # IPython takes a bundle alone as well; the base class adds metadata.
    def _repr_mimebundle_(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, **kwargs: Any
    ) -> dict[str, Any]:
        """The widget, with an equivalent table and text for where widgets are not possible."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**(data or {}), "text/plain": self._text, "text/html": "\n".join(map(_as_table, self.runs))}


def stepper(
    transcripts: Iterable[SomeTranscript], refused: Iterable[dict[str, str]] = (), *, at_end: bool = False
) -> Stepper:
    """A stepper of transcripts; `refused` names levels and schedules that ended in an error.

    The first one is shown first, before its first step or, `at_end`, after its last. Level and schedule should be
    unique. Raises ValueError if there is none.
    """
    told, refusals = list(transcripts), list(refused)
    if not told:
        raise ValueError("a stepper needs a transcript to show")
    texts = [*map(str, told), *(f"{one['schedule']} at {one['level']}: {one['refused']}" for one in refusals)]
    return Stepper([*(story(one.to_dict()) for one in told), *refusals], "\n\n".join(texts), at_end)


def _as_table(run: dict[str, Any]) -> str:
    title = escape(f"{run['schedule']} at {run['level']}")
    if "refused" in run:
        return f"<p><b>{title}</b>: {escape(run['refused'])}</p>"
    names = [one["name"] for one in run["sessions"]]
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in names)
    rows = ""
    for number, event in enumerate(run["events"], start=1):
        sql = f"<code>{escape(event['sql'])}</code><br>" if event["sql"] else ""
        said = f"{sql}<b>{escape(event['text'])}</b>"
        cells = "".join(
            f'<td style="{_CELL}">{said if event["lane"] == lane else ""}</td>' for lane in range(len(names))
        )
        rows += f'<tr><th style="{_CELL}">{number}</th>{cells}</tr>'
    summary = "<br>".join(map(escape, run["summary"]))
    return (
        f'<table style="border-collapse: collapse"><caption style="text-align: left"><b>{escape(run["case"])}</b>, '
        f"{title}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table><p>{summary}</p>"
    )
