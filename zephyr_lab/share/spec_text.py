"""A counterexample as a `.spec` file, in the language of PostgreSQL's isolationtester.

A block of SQL ends at the first `}`, which cannot be escaped: within literals and quoted names it is written as an
escape of SQL's, and in comments as a parenthesis.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.model import Session, Spec
from zephyr_lab.share.recorded import Moment, Recorded
from zephyr_lab.sql.tokens import Token, UnclearSQL, tokens
from zephyr_lab.views.abridged import one_line

WIDTH = 96
_NAME = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z_\u0080-\U0010ffff0-9$]*")
_KEYWORDS = frozenset({"setup", "teardown", "session", "step", "permutation", "notices"})
_DOLLARS = re.compile(r"(?s)(\$\w*\$)(.*)\1")


def spec_text(recorded: Recorded, name: str) -> str:
    """The file's text; `name` is what it is to be called. Raises BadInput for SQL that cannot be in such a file."""
    lines = [*_comments(_head(recorded, name)), ""]
    spec = recorded.spec
    for block in spec.setups:
        lines += _block("setup", block)
    if spec.teardown is not None:
        lines += _block("teardown", spec.teardown)
    for session in spec.sessions:
        lines += ["", *_session(session, recorded.moments)]
    lines += ["", "permutation", *_permutation(spec, recorded.moments), ""]
    lines += _comments(_foot(recorded))
    return "\n".join(lines) + "\n"


def command(recorded: Recorded, name: str) -> str:
    """What runs the file here."""
    whole = " --whole-sessions" if recorded.whole_sessions else ""
    schedule = shlex.quote(recorded.spec_schedule)
    return (
        f"zephyr-lab run {shlex.quote(name)} --isolation {shlex.quote(recorded.isolation)} --schedule {schedule}{whole}"
    )


def _head(recorded: Recorded, name: str) -> list[str]:
    said = [
        f"{recorded.title}: {recorded.claim}.",
        f"Found by zephyr_lab on {recorded.server}. Run it again:",
        f"  {command(recorded, name)}",
        "or by isolationtester, which prints what each step answers. Statements have the parameters of this schedule.",
    ]
    if recorded.whole_sessions:
        said.append(
            "A session has several transactions here, and is one piece of work: it is judged by the orders of sessions."
        )
    return said + [f"Left out: {one}." for one in recorded.left_out]


def _foot(recorded: Recorded) -> list[str]:
    said = [*recorded.verdict.transcript.summary(), *recorded.ends, ""]
    shown, _ = recorded.verdict.of_what_differs()
    return [*said, *str(shown).splitlines(), *recorded.explanation]


def _comments(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"# {' '.join(line.splitlines())}".rstrip() for line in lines)


def _session(session: Session, moments: Sequence[Moment]) -> Iterator[str]:
    yield f"session {quoted(session.name)}"
    if session.setup is not None:
        yield from _block("setup", session.setup)
    by_name = {step.name: step.sql for step in session.steps}
    for moment in moments:
        if moment.session != session.name:
            continue
        if moment.step in by_name:
            yield from _block(f"step {quoted(moment.step)}", by_name.pop(moment.step))
        else:
            yield f"# here {_no_sql(moment)}"
    for name, sql in by_name.items():  # which this schedule does not take
        yield from _block(f"step {quoted(name)}", sql)
    if session.teardown is not None:
        yield from _block("teardown", session.teardown)


def _permutation(spec: Spec, moments: Sequence[Moment]) -> Iterator[str]:
    """A step a line, with what it was told."""
    width = max((len(quoted(one.step)) for one in moments if one.step), default=0)
    for moment in moments:
        if moment.step:
            yield f"  {quoted(moment.step):<{width}}  # {one_line(moment.told, WIDTH)}".rstrip()
        else:
            yield f"  {'':<{width}}  # {_no_sql(moment)}"
        yield from (f"  {'':<{width}}  # {one_line(said, WIDTH)}" for said in moment.then)


def _no_sql(moment: Moment) -> str:
    what = one_line(moment.sql, WIDTH) or "nothing is sent"
    return f"{moment.session}: {what}: {one_line(moment.told, WIDTH)} (no SQL, and not in this file)"


def _block(keyword: str, sql: str) -> Iterator[str]:
    text = without_braces(sql)
    if "\n" not in text and len(keyword) + len(text) < WIDTH:
        yield f"{keyword} {{ {text.strip()} }}"
    else:
        yield from (keyword, "{", text.strip("\n"), "}")


def quoted(name: str) -> str:
    """A name of a session or step as the file has it. Raises BadInput for one with a line break."""
    if _NAME.fullmatch(name) and name not in _KEYWORDS:
        return name
    if "\n" in name:
        raise BadInput(f"{name!r} cannot be a name in a .spec file, since it has a line break: name the session anew")
    return '"' + name.replace('"', '""') + '"'


def without_braces(sql: str) -> str:
    """The same SQL without a `}`. Raises BadInput where that is not possible."""
    if "}" not in sql:
        return sql
    try:
        found = tokens(sql)
        pieces, place = [], 0
        for token in found:
            pieces += [sql[place : token.start].replace("}", ")"), _escaped(sql[token.start : token.end], token)]
            place = token.end
    except UnclearSQL as error:
        raise BadInput(
            f"{one_line(sql, 60)!r} has a closing brace, which ends a block of a .spec file, and cannot be written "
            f"without it ({error}): export it as .html or .sql"
        ) from None
    return "".join([*pieces, sql[place:].replace("}", ")")])


def _escaped(text: str, token: Token) -> str:
    if "}" not in text:
        return text
    if token.kind == "quoted":
        return 'U&"' + token.text.replace("\\", "\\\\").replace('"', '""').replace("}", "\\007D") + '"'
    if text[:1] in "eE":
        return re.sub(r"(?s)\\.|\}", lambda found: r"\x7D" if found[0].endswith("}") else found[0], text)
    if dollars := _DOLLARS.fullmatch(text):
        return "E'" + dollars[2].replace("\\", "\\\\").replace("'", "''").replace("}", r"\x7D") + "'"
    if text.startswith("'"):
        return "E" + text.replace("\\", "\\\\").replace("}", r"\x7D")
    raise UnclearSQL(f"outside of a literal: {text!r}")
