"""A transcript to step through as one HTML file: no kernel, no request to anywhere, light or dark as the reader's.

The stepper's own code and style (`stepper.js`, `stepper.css`) are inside, with the story as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from zephyr_lab.views.story import story

_HERE = Path(__file__).parent
_EXPORT = "export default { render };"
# Only what is in the page is run and loaded, whatever SQL and rows contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; line-height: 1.45; max-width: 76em; margin: 1.5em auto; padding: 0 1em;
       color: #1b1f24; background: #ffffff; }
h1 { font-size: 1.3em; } h2 { font-size: 1.05em; margin: 1.4em 0 0.4em; }
pre { overflow-x: auto; padding: 0.7em 0.9em; border: 1px solid #8c959f88; border-radius: 6px; background: #8c959f1f;
      font: 13px/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; font-weight: 600; margin: 0.8em 0 0.4em; }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117; } }
"""
_START = """
const runs = JSON.parse(document.getElementById("runs").textContent);
document.getElementById("text").hidden = true;
render({ model: { get: (name) => ({ runs, at_end: false })[name] }, el: document.getElementById("stepper") });
"""


@dataclass(frozen=True)
class Part:
    """A part of a page below the stepper: text as it is. A `folded` one shows its title until it is opened."""

    title: str
    text: str
    folded: bool = False


def page(transcript: dict[str, Any], title: str, lead: str, text: str, parts: Iterable[Part]) -> str:
    """The file's text, from `Transcript.to_dict()`; `text` stands in for the stepper without JavaScript."""
    code = (_HERE / "stepper.js").read_text(encoding="utf-8")
    assert _EXPORT in code
    drawn = f'<div id="stepper"></div>\n<pre id="text">{escape(text)}</pre>\n{"".join(map(_part, parts))}'
    return document(title, lead, drawn, [story(transcript)], code.replace(_EXPORT, "") + _START)


def document(title: str, lead: str, body: str, data: Any, code: str) -> str:
    """A page with the stepper's style that loads nothing: `data` is in it as JSON, in a script named runs."""
    held = json.dumps(data).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_CSS}{(_HERE / "stepper.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(lead)}</p>
{body}
<script id="runs" type="application/json">{held}</script>
<script>
{code}</script>
</body>
</html>
"""


def _part(part: Part) -> str:
    text = f"<pre>{escape(part.text)}</pre>\n"
    if part.folded:
        return f"<details><summary>{escape(part.title)}</summary>\n{text}</details>\n"
    return f"<h2>{escape(part.title)}</h2>\n{text}"
