"""The language of `.spec` files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zephyr_lab.errors import BadInput
from zephyr_lab.lab.case import cases, load_case
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.model import Blocker, Schedule

FULL = '''# a comment
setup { create table t (n int); }
setup {
  insert into t values (1);
}
teardown { drop table t; }
session "s one"
setup { set work_mem = '1MB'; }
step a {   select 1;   }
step "b ""quoted""" { select 2; }
teardown { select 3; }
session s2
step c { select 4; }
permutation a(c) c(*) "b ""quoted"""(c, c notices 2)
permutation c
'''


def test_everything_in_the_language_is_read() -> None:
    """Blocks in order, names with blanks and quotes, blocker marks."""
    spec = specfile.parse(FULL, name="full")
    assert spec.setups == ("create table t (n int);", "\n  insert into t values (1);\n")
    assert spec.teardown == "drop table t;"
    assert spec.session_names == ("s one", "s2")
    assert spec.sessions[0].setup == "set work_mem = '1MB';"
    assert [step.sql for step in spec.steps.values()] == ["select 1;", "select 2;", "select 4;"]
    first, second = spec.permutations
    assert [(one.step, one.blockers) for one in first] == [
        ("a", (Blocker("c"),)),
        ("c", (Blocker(),)),
        ('b "quoted"', (Blocker("c"), Blocker("c", 2))),
    ]
    assert [one.step for one in second] == ["c"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "expected `setup`, `teardown` or `session NAME`, found the end of the file"),
        ("setup { select 1;\n\nsession A", 1, "a `{` without its `}`"),
        (
            "setup {\nselect 1;\nsession A\nstep a { select 1; }",
            4,
            "expected `session NAME`, found the end of the file; the `{` of line 1 is closed by",
        ),
        ("setup { select '{}'::int[]; }\nsession A", 1, 'unexpected character "\'"; the `{` of line 1 is closed by'),
        ("session A\nstep a { select 1; }\nstep a { select 2; }", 3, "a second step 'a'"),
        ("session A\nstep a { select 1; }\nsession A step b { select 2; }", 3, "a second session 'A'"),
        ("session A\n\nsession B step b { select 1; }", 3, "expected `step` in session 'A', found 'session'"),
        ("session A step a\nselect 1;", 2, "expected `{ SQL }` after `step a`, found 'select'"),
        ("session A step a { select 1; }\npermutation a b", 2, "no step 'b' in this file"),
        ("session A step a { select 1; }\npermutation\n", 2, "a permutation without steps"),
        (
            "session A step a { }\nsession B step b { }\npermutation a(b)",
            3,
            "step 'a' is to wait for 'b', which is not",
        ),
        ("session A step a { } step b { }\npermutation b a(b)", 2, "step 'a' is to wait for 'b', a step of its own"),
        ("session A step a { select 1; }\npermutation a(b)", 2, "no step 'b' in this file"),
        ("session A step a { select 1; }\npermutation a(*", 2, "expected `)` or `,`, found the end of the file"),
        ("session A step a { select 1; }\npermutation a(a notices x)", 2, "expected a number after `notices`"),
        ('session "A\nstep a { select 1; }', 1, 'a `"` without its `"` on the same line'),
        ("session A step a { select 1; } ?", 1, "unexpected character '?'"),
        ("session A step a { select 1; }\nteardown { select 1; }\nsetup { select 1; }", 3, "expected `session`"),
    ],
)
def test_a_malformed_file_is_refused_with_the_line(text: str, line: int, said: str) -> None:
    """And with what was expected there."""
    with pytest.raises(BadInput) as error:
        specfile.parse(text, source="x.spec")
    assert str(error.value).startswith(f"x.spec, line {line}: {said}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or not text."""
    (tmp_path / "binary.spec").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.spec", "binary.spec"):
        with pytest.raises(BadInput, match=name):
            specfile.read(tmp_path / name)


def test_carriage_returns_are_kept_in_sql_and_end_comments(tmp_path: Path) -> None:
    """They are blanks elsewhere, so a file of either line ending has the same steps, each with its own SQL."""
    path = tmp_path / "x.spec"
    path.write_bytes(b"# a comment\rsession s1\r\nstep a { select 1,\r\n2; \r }\r\n")
    assert specfile.read(path).steps["a"].sql == "select 1,\r\n2;"


@given(st.text(alphabet="setupion sABac{}()*,\"#\n12'stepermutation", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never another exception than BadInput."""
    with contextlib.suppress(BadInput):
        specfile.parse(text)


def _sessions(number: int) -> str:
    return "".join(f"session s{i} step t{i} {{ select {i}; }}\n" for i in range(number))


def _steps(number: int) -> str:
    return "session A\n" + "".join(f"step t{i} {{ select {i}; }}\n" for i in range(number))


GROWING: dict[str, Callable[[int], str]] = {
    "blanks behind a brace that is never closed": lambda n: "setup {" + 8 * n * " ",
    "blanks and newlines in one": lambda n: "setup {" + n * " \t\r\n x",
    "blanks before a brace that is": lambda n: "setup {" + 8 * n * " " + "}",
    "braces": lambda n: n * "{",
    "quotes": lambda n: "session " + n * '"',
    "quotes and letters": lambda n: "session " + n * '"a',
    "pairs of quotes": lambda n: 'session "' + n * '""',
    "comments": lambda n: n * "# {\n",
    "words": lambda n: n * "setup ",
    "sessions": _sessions,
    "sessions and one more of a name": lambda n: _sessions(n) + "session s0 step x { }",
    "steps": _steps,
    "steps and one more of a name": lambda n: _steps(n) + "step t0 { }",
    "permutations": lambda n: _steps(n) + "".join(f"permutation t{i}\n" for i in range(n)),
    "one permutation": lambda n: _steps(n) + "permutation " + " ".join(f"t{i}" for i in range(n)),
    "marks": lambda n: _steps(2) + "session B step b { }\npermutation t0 b(" + ", ".join(["t0"] * n),
}


@pytest.mark.parametrize("text", GROWING.values(), ids=GROWING)
def test_eight_times_the_text_takes_about_eight_times_as_long(text: Callable[[int], str]) -> None:
    """Whether it can be read or not: sixty-four times would be one loop in another."""

    def seconds(size: int) -> float:
        given, took = text(size), []
        for _ in range(3):
            began = time.process_time()
            with contextlib.suppress(BadInput):
                specfile.parse(given)
            took.append(time.process_time() - began)
        return min(took)

    assert seconds(3_200) < 24 * max(seconds(400), 0.0002)


def test_postgresqls_own_specs_are_read(shared: Path) -> None:
    """All of those that lie beside the project, every step reached by name."""
    paths = sorted((shared / "isolation" / "specs").glob("*.spec"))
    assert len(paths) >= 51
    for path in paths:
        spec = specfile.read(path)
        assert all(one.step in spec.steps for permutation in spec.permutations for one in permutation)


def test_the_labs_own_cases_have_a_schedule_that_shows_them() -> None:
    """And its words are read back as the same schedule."""
    assert {"lost-update", "non-repeatable-read", "phantom"} < set(cases())
    for name in cases():
        spec = load_case(name)
        schedule = Schedule.of(spec.permutations[0])
        assert Schedule.parse(schedule.text(spec), spec) == schedule
