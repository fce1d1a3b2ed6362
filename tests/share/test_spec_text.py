"""SQL in the blocks of a spec: what it means is what it meant, and no block ends too early."""

from __future__ import annotations

import pytest

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.schedule import specfile
from zephyr_lab.share.spec_text import quoted, without_braces

LITERALS = [
    """select '{"a": "it''s \\ {}"}'::text""",
    r"select E'{\}\\}\'}'::text",
    "select $tag${'a'} \\ $$ }$tag$::text",
    "select $${}$$::text",
    "select array[1]::text || '{1,2}'::int[]::text",
]


@pytest.mark.parametrize("sql", LITERALS)
def test_literals_are_the_same_without_their_braces(lab: Lab, sql: str) -> None:
    """The server says what they are."""
    written = without_braces(sql)
    assert "}" not in written
    with lab.connect() as connection:
        assert connection.execute(written.encode()).fetchone() == connection.execute(sql.encode()).fetchone()


def test_names_and_comments_lose_their_braces(lab: Lab) -> None:
    written = without_braces('select 1 as "a } \\ ""b""" -- {as said}\n')
    assert "}" not in written
    with lab.connect() as connection:
        told = connection.execute(written.encode())
        assert told.description
        assert told.description[0].name == 'a } \\ "b"'


def test_what_cannot_be_written_without_a_brace_is_refused() -> None:
    with pytest.raises(BadInput, match="a closing brace, which ends a block"):
        without_braces("select U&'\\0041}'")
    with pytest.raises(BadInput, match="has a line break"):
        quoted("a\nb")


@pytest.mark.parametrize("name", ["A", "step", "book-1", 'a "b"', "1", "größe"])
def test_names_are_read_as_they_were(name: str) -> None:
    text = f"session {quoted(name)} step {quoted(name)} {{ select 1 }} permutation {quoted(name)}"
    (session,) = specfile.parse(text).sessions
    assert (session.name, session.steps[0].name) == (name, name)
