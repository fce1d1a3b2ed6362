"""A Sphinx extension: the search finds SQLSTATEs, such as 40001, which Sphinx leaves out as numbers (`search.js`)."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish


class WithStates(SearchEnglish):
    """English, with numbers of five digits."""

    lang = "sqlstates"

    def word_filter(self, word: str) -> bool:
        return super().word_filter(word) or (word.isdigit() and len(word) == 5)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_search_language(WithStates)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
