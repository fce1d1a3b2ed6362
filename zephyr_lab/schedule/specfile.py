"""Reads `.spec` files, in the language of PostgreSQL's isolationtester (src/test/isolation/README).

    setup { SQL }                      # any number; each is sent as one message
    teardown { SQL }
    session NAME
      setup { SQL }  step NAME { SQL } ...  teardown { SQL }
    permutation STEP STEP(*) STEP(STEP) STEP(STEP notices N) ...

Names are bare or in double quotes; `#` begins a comment. Inside braces only blanks (not newlines) at both ends are
trimmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.model import Blocker, ScheduledStep, Session, Spec, Step

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\f\n]+|\#[^\n\r]*)
      | (?P<sql>\{(?P<body>[^}]*)\})  # its blanks are trimmed later: to match them here takes cubic time without a `}`
      | (?P<quoted>"(?P<inner>(?:[^"\n]|"")*)")
      | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z_\u0080-\U0010ffff0-9$]*)
      | (?P<number>[0-9]+)
      | (?P<mark>[(),*])""",
    re.VERBOSE,
)
_BLANKS = " \t\r\f"
_KEYWORDS = frozenset({"setup", "teardown", "session", "step", "permutation", "notices"})


@dataclass(frozen=True)
class _Token:
    kind: str  # one of: a keyword, "name", "sql", "number", a mark, "unreadable", "end"
    text: str
    line: int


def read(path: Path) -> Spec:
    """The spec in a file; its name is the file's, without suffix. Raises BadInput with the line number."""
    try:
        # A carriage return in a step belongs to its SQL, and is sent and printed with it.
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read spec file {path}: {getattr(error, 'strerror', None) or error}") from None
    return parse(text, name=path.stem, source=str(path))


def parse(text: str, name: str = "spec", source: str = "spec") -> Spec:
    """The spec in a text. Raises BadInput as `SOURCE, line N: what is wrong`."""
    return _Parser(text, name, source).spec()


class _Parser:
    def __init__(self, text: str, name: str, source: str) -> None:
        self.name, self.source = name, source
        self.tokens = list(self._scan(text))
        self.at = 0
        self.names: set[str] = set()  # of the sessions so far
        self.sessions_of: dict[str, str] = {}  # by step

    def _scan(self, text: str) -> Iterator[_Token]:
        place, line = 0, 1
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                trouble = {"{": "a `{` without its `}`", '"': 'a `"` without its `"` on the same line'}
                # Reported only when it is reached: an unexpected word before it is the better clue.
                yield _Token("unreadable", trouble.get(text[place], f"unexpected character {text[place]!r}"), line)
                return
            match found.lastgroup:
                case "sql" | "body":
                    yield _Token("sql", found["body"].strip(_BLANKS), line)
                case "quoted" | "inner":
                    yield _Token("name", found["inner"].replace('""', '"'), line)
                case "word":
                    yield _Token(found["word"] if found["word"] in _KEYWORDS else "name", found["word"], line)
                case "number":
                    yield _Token("number", found["number"], line)
                case "mark":
                    yield _Token(found["mark"], found["mark"], line)
            line += found[0].count("\n")
            place = found.end()
        yield _Token("end", "the end of the file", line)

    def swallowed(self) -> str:
        """A hint at a SQL block that ended too early: the last one, if another brace opens in it."""
        if not self.at or (block := self.tokens[self.at - 1]).kind != "sql" or "{" not in block.text:
            return ""
        return f"; the `{{` of line {block.line} is closed by the next `}}`, behind another `{{`"

    def fail(self, line: int, what: str) -> NoReturn:
        raise BadInput(f"{self.source}, line {line}: {what}")

    def next_is(self, kind: str) -> bool:
        return self.tokens[self.at].kind == kind

    def take(self, kind: str, what: str) -> _Token:
        token = self.tokens[self.at]
        if token.kind == "unreadable":
            self.fail(token.line, token.text + self.swallowed())
        if token.kind != kind:
            found = "an SQL block" if token.kind == "sql" else token.text if token.kind == "end" else repr(token.text)
            self.fail(token.line, f"expected {what}, found {found}{self.swallowed()}")
        self.at += 1
        return token

    def block(self, keyword: str) -> str | None:
        """The SQL behind `keyword`, if the keyword comes next."""
        if not self.next_is(keyword):
            return None
        self.at += 1
        return self.take("sql", f"`{{ SQL }}` after `{keyword}`").text

    def spec(self) -> Spec:
        setups = []
        while (sql := self.block("setup")) is not None:
            setups.append(sql)
        teardown = self.block("teardown")
        sessions: list[Session] = []
        while self.next_is("session"):
            sessions.append(self.session())
        if not sessions:
            self.take("session", "`session NAME`" if setups or teardown else "`setup`, `teardown` or `session NAME`")
        permutations = []
        while self.next_is("permutation"):
            permutations.append(self.permutation(self.sessions_of))
        self.take("end", "`session` or `permutation`" if not permutations else "`permutation`")
        return Spec(self.name, tuple(sessions), tuple(setups), teardown, tuple(permutations))

    def session(self) -> Session:
        self.at += 1
        token = self.take("name", "the session's name")
        name = token.text
        if name in self.names:
            self.fail(token.line, f"a second session {name!r}")
        self.names.add(name)
        setup = self.block("setup")
        steps: list[Step] = []
        while self.next_is("step"):
            self.at += 1
            step = self.take("name", "the step's name")
            if step.text in self.sessions_of:
                self.fail(step.line, f"a second step {step.text!r}")
            self.sessions_of[step.text] = name
            steps.append(Step(step.text, name, self.take("sql", f"`{{ SQL }}` after `step {step.text}`").text))
        if not steps:
            self.take("step", f"`step` in session {name!r}")
        return Session(name, tuple(steps), setup, self.block("teardown"))

    def permutation(self, steps: Mapping[str, str]) -> tuple[ScheduledStep, ...]:
        line = self.tokens[self.at].line
        self.at += 1
        scheduled = []
        while self.next_is("name"):
            name = self.step_name(steps)
            blockers: list[Blocker] = []
            if self.next_is("("):
                self.at += 1
                blockers.append(self.blocker(steps))
                while self.next_is(","):
                    self.at += 1
                    blockers.append(self.blocker(steps))
                self.take(")", "`)` or `,`")
            scheduled.append(ScheduledStep(name, tuple(blockers)))
        if not scheduled:
            self.fail(line, "a permutation without steps")
        self.check_marks(scheduled, steps, line)
        return tuple(scheduled)

    def check_marks(self, permutation: list[ScheduledStep], steps: Mapping[str, str], line: int) -> None:
        """Checks that a mark names a step of the same permutation and of another session."""
        taken = {one.step for one in permutation}
        marks = [(one.step, blocker.step) for one in permutation for blocker in one.blockers]
        for step, other in marks:
            if other is None:
                continue
            if other not in taken:
                self.fail(line, f"step {step!r} is to wait for {other!r}, which is not in this permutation")
            if steps[step] == steps[other]:
                self.fail(line, f"step {step!r} is to wait for {other!r}, a step of its own session")

    def blocker(self, steps: Mapping[str, str]) -> Blocker:
        if self.next_is("*"):
            self.at += 1
            return Blocker()
        name = self.step_name(steps)
        if not self.next_is("notices"):
            return Blocker(name)
        self.at += 1
        return Blocker(name, int(self.take("number", "a number after `notices`").text))

    def step_name(self, steps: Mapping[str, str]) -> str:
        token = self.take("name", "a step's name")
        if token.text not in steps:
            self.fail(token.line, f"no step {token.text!r} in this file")
        return token.text
