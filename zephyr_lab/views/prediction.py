"""A question with answers to choose from: it says whether the choice is right, and how many were so far.

Everything travels with the widget, so that it works without a kernel and in a static page. What was chosen first is
kept in the browser (`localStorage`), for all pages of the site or of one JupyterLab, and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent


class Question(anywidget.AnyWidget):
    """`answer` and `choice` are numbers from 1; 0 is an answer that is not known, and no choice yet."""

    _esm = (_HERE / "prediction.js").read_text(encoding="utf-8")
    _css = (_HERE / "prediction.css").read_text(encoding="utf-8")
    question = traitlets.Unicode().tag(sync=True)
    options: traitlets.List[str] = traitlets.List().tag(sync=True)
    answer = traitlets.Int().tag(sync=True)
    choice = traitlets.Int().tag(sync=True)
