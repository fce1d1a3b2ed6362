"""Sphinx's settings. Nothing on a page is fetched from elsewhere."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

SETTINGS: dict[str, Any] = {
    "project": "zephyr_lab",
    "release": version("zephyr-lab"),
    "copyright": "",
    "extensions": ["myst_nb", "sphinx.ext.autodoc", "zephyr_lab.site.search"],
    "html_search_language": "sqlstates",
    "nb_execution_mode": "off",
    "nb_render_markdown_format": "myst",  # its default knows no tables
    "myst_enable_extensions": [],
    "myst_heading_anchors": 3,
    "default_role": "code",
    "autodoc_typehints_format": "short",
    "autodoc_member_order": "bysource",
    "add_module_names": False,
    "python_use_unqualified_type_names": True,
    # `%%session A` is followed by SQL.
    "suppress_warnings": ["misc.highlighting_failure"],
    "html_theme": "pydata_sphinx_theme",
    "html_title": "zephyr_lab",
    "html_static_path": ["_static"],
    "html_css_files": ["site.css", "figures.css"],
    "html_js_files": [
        "search.js",
        "sources.js",
        "cases.js",
        "widgets.js",
        ("schedules.js", {"defer": "defer"}),
        ("lattice.js", {"defer": "defer"}),
        ("progress.js", {"defer": "defer"}),
    ],
    "html_sidebars": {name: [] for name in ("index", "matrix", "schedules", "levels", "limits")},
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_show_search_summary": False,  # it would fetch pages, which a page opened from disk may not
    "html_theme_options": {
        "logo": {"text": "zephyr_lab"},
        "navbar_align": "left",
        "header_links_before_dropdown": 6,
        "navbar_end": ["theme-switcher"],
        "footer_start": [],
        "footer_end": [],
        "show_toc_level": 2,
        "use_edit_page_button": False,
    },
    "html_context": {"default_mode": "auto"},
}
