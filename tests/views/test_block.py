"""HTML of explorations, verdicts and checks: what the text says, at any width, on light and dark."""

from __future__ import annotations

import re
from html import unescape

from zephyr_lab import Lab
from zephyr_lab.check import check, parse
from zephyr_lab.course.answer import Answer, _Words
from zephyr_lab.explore.verdict import VerdictKind
from zephyr_lab.views.block import Line, block, colour_of
from zephyr_lab.views.figure import SESSIONS


def words(html: str) -> list[str]:
    return unescape(re.sub(r"<[^>]+>", " ", html)).split()


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_what_the_text_says_is_in_the_html(lab: Lab) -> None:
    """Every word of it, but for the punctuation that stands for lines and columns."""
    found = lab.case("write-skew", "serializable").explore()
    verdict = lab.case("lost-update").verdict()
    answer = Answer(
        "booking", False, "the schedule A B breaks it", "it is oversold", "no slot is oversold", "look again"
    )
    history = check(parse("A: append x 1\nA: r x [1]"), "serializable")
    for text, html in (
        (str(found), found._repr_html_()),
        (str(verdict), verdict._repr_html_()),
        (answer.words(), _Words(answer)._repr_html_()),
        (str(history), history._repr_mimebundle_()["text/html"]),
    ):
        plain = [word.strip(":") for word in words(html)]
        missing = [word for word in text.split() if word.strip(":") not in plain and word != "verdict:"]
        assert missing == [], html


def test_nothing_in_it_is_wider_than_the_page_and_data_is_no_markup() -> None:
    """No fixed width, no line that may not break but a badge's; what is in rows and names stays text."""
    html = block("<b>x</b>", [Line("y" * 500, "occurs", "3", "<i>", "A B")], ["hint: <script>"])
    assert not re.search(r"(?<!max-)width:|<pre|<table|<script|<i>", html)
    assert html.count("nowrap") == 1
    assert "&lt;script&gt;" in html


def test_badges_can_be_read_on_any_page() -> None:
    """White on each colour has a contrast of at least 4.5 (WCAG 2.2, 1.4.3); text has the page's own colour."""
    for colour in {*map(colour_of, [*VerdictKind, "right", "not yet", "not valid", "cannot tell"]), *SESSIONS}:
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, colour
    shown = block("x", [Line("y", "occurs", code="A B")])
    assert set(re.findall(r"(?<![-\w])color: ([^;\"]+)", shown)) == {"inherit", "#ffffff"}
