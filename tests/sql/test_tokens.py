"""SQL is cut where the server cuts it."""

from __future__ import annotations

import pytest

from zephyr_lab.sql.tokens import UnclearSQL, called, split, statements, tokens


def texts(sql: str) -> list[list[str]]:
    return [[token.text for token in statement] for statement in statements(sql)]


def test_a_semicolon_in_a_literal_or_a_comment_is_none() -> None:
    """Quotes of all kinds, and comments that nest."""
    assert texts("begin; select ';' -- a; b\n, 1; ; commit") == [["begin"], ["select", "';'", ",", "1"], ["commit"]]
    assert texts("select 'it''s;', E'\\';', $$;$$, $a$ $$; $a$ /* ; /* ; */ ; */, \";\"; Commit") == [
        ["select", "'it''s;'", ",", "E'\\';'", ",", "$$;$$", ",", "$a$ $$; $a$", ",", ";"],
        ["commit"],
    ]


def test_names_are_as_the_catalogue_has_them() -> None:
    """A to Z in lower case unless they are quoted."""
    assert [token.name for token in tokens("SÄ, É")] == ["sÄ", "", "É"]
    assert [token.name for token in tokens('SELECT "A""b", \'c\', d$1, 2')] == [
        "select",
        'A"b',
        "",
        "",
        "",
        "d$1",
        "",
        "",
    ]
    assert list(called(tokens('select f(1), a.g (2), "H"(3), $$f(1)$$, x::varchar(3)'))) == [
        ("f", "select"),
        ("g", "."),
        ("H", ","),
        ("varchar", ":"),
    ]


@pytest.mark.parametrize("sql", ["'a", "E'a\\'", "$$a", '"a', "/* /* */", "U&'x'", 'u&"x"', '""'])
def test_what_is_not_closed_or_in_escapes_is_refused(sql: str) -> None:
    with pytest.raises(UnclearSQL):
        tokens(f"select {sql}")


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("create function f() returns int begin atomic select 1; select case when true then 2 end; end; select 3", 2),
        ("create or replace procedure p() begin atomic select 1; select 2; end", 1),
        ("create rule r as on delete to t do (select 1; select 2); commit", 2),
        ("begin; atomic; select 1; end", 4),
        ("select 1); commit", 2),
        ("select f(begin atomic); commit", 2),
    ],
)
def test_a_body_of_statements_is_cut_nowhere(sql: str, count: int) -> None:
    """As the server's grammar and psql have it."""
    assert len(list(statements(sql))) == len(split(sql)) == count


def test_the_texts_of_statements_keep_their_comments_and_escapes() -> None:
    """A text may be sent on, whether or not its identifiers can be compared."""
    assert split("-- a\n select U&'\\0061' -- b\n; ; /* c */ commit -- d\n") == [
        "select U&'\\0061' -- b",
        "commit -- d",
    ]
    with pytest.raises(UnclearSQL):
        split("select 'a")
