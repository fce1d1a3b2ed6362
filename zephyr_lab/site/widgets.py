"""A notebook with its widgets made static: those that need no kernel go on working, of others their text stays.

A page mounts a widget (`widgets.js`) from the state that the executed notebook has stored. Code and style of a widget
are kept once for all pages.
"""

from __future__ import annotations

import hashlib
import json
from html import escape
from pathlib import Path
from typing import Any, cast

import nbformat

from zephyr_lab import views
from zephyr_lab.course.result import MIME as RESULT
from zephyr_lab.course.store import WIDGET_VIEW
from zephyr_lab.site.figures import figure

_STATE = "application/vnd.jupyter.widget-state+json"
_SHARED = ("_esm", "_css")


def static(notebook: nbformat.NotebookNode, shared: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook for a page; `shared` gathers code and style by a hash."""
    notebook = cast("nbformat.NotebookNode", nbformat.from_dict(notebook))
    states = notebook.metadata.pop("widgets", {}).get(_STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(RESULT, None)  # for programs; its text stays
            view = data.pop(WIDGET_VIEW, None)
            model = states.get(view["model_id"]) if view else None
            if model and model["model_name"] == "AnyModel":
                output["data"] = {"text/html": mount(model["state"], data, shared), "text/plain": data["text/plain"]}
                if "question" in model["state"]:  # a listing that calls predict() says nothing more
                    cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-input"]
            elif "image/svg+xml" in data and "text/html" not in data:
                shown = figure(data["image/svg+xml"], data["text/plain"])
                output["data"] = {"text/html": shown, "text/plain": data["text/plain"]}
    return notebook


def own(module: str, shared: dict[str, str]) -> dict[str, str]:
    """Code and style of a widget of ours, for a page that mounts one without a notebook."""
    kept = {}
    for name, suffix in zip(_SHARED, (".js", ".css"), strict=True):
        source = (Path(views.__file__).parent / f"{module}{suffix}").read_text(encoding="utf-8")
        kept[name] = _digest(source)
        shared[kept[name]] = source
    return kept


def mount(state: dict[str, Any], data: dict[str, Any], shared: dict[str, str]) -> str:
    """HTML where `widgets.js` shows a widget; without JavaScript the text beside it stays."""
    wanted = {name: value for name, value in state.items() if not name.startswith("_")}
    for name in _SHARED:
        source = str(state.get(name, ""))
        wanted[name] = _digest(source)
        shared[wanted[name]] = source
    fallback = data.get("text/html") or f"<pre>{escape(data['text/plain'])}</pre>"
    text = json.dumps(wanted).replace("<", "\\u003c")
    return f'<div class="zephyr-widget"><script type="application/json">{text}</script>{fallback}</div>'


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:12]
