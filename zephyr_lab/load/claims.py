"""Every claim of the write-up about the service's behaviour, the experiment that decides it, and its finding.

Verdicts are computed from what was measured, here and now; none is written down. A figure from a busy machine is only
as good as that machine was: the share of other processes is printed with the table.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from zephyr_lab.errors import BadInput
from zephyr_lab.load.claims_code import CODE
from zephyr_lab.load.claims_load import LOAD
from zephyr_lab.load.claims_runbook import RUNBOOK
from zephyr_lab.load.finding import Bench, Decide, Finding, Verdict

if TYPE_CHECKING:
    from zephyr_lab.views.figure import Picture


@dataclass(frozen=True)
class Claim:
    """A statement of the write-up, and its experiment."""

    number: int
    about: str
    said: str
    decide: Decide


PARTS = {"under load": LOAD, "the service's code": CODE, "the runbook's SQL": RUNBOOK}
_ALL = ((about, *one) for about, chapter in PARTS.items() for one in chapter)

CLAIMS = [Claim(number, *one) for number, one in enumerate(_ALL, 1)]
"""First those under load, then of the service's code, then of the runbook's SQL; each in the write-up's order."""


@dataclass(frozen=True)
class Decided:
    """A claim and its finding."""

    claim: Claim
    finding: Finding


def _bold(finding: Finding) -> str:
    return f"**{finding.verdict}** {finding.when}".strip()


@dataclass(frozen=True, repr=False)
class Table:
    """Every claim with its finding, and the conditions under which they were measured."""

    rows: Sequence[Decided]
    server: str
    rate: float
    seconds: float
    others_share: float
    with_load: bool = True

    @property
    def conditions(self) -> str:
        if not self.with_load:
            return f"measured on {self.server}"
        return (
            f"measured on {self.server}, {self.rate:g} orders/s for {self.seconds:g} s a run; "
            f"others took up to {self.others_share:.0%} of the machine"
        )

    def __str__(self) -> str:
        lines = []
        for row in self.rows:
            lines.append(f"{row.claim.number:>2}. {row.claim.said}")
            lines.append(textwrap.indent(textwrap.fill(row.finding.said, 110), "    -> "))
            lines.append(textwrap.indent(textwrap.fill(row.finding.measured, 110), "       "))
        return "\n".join([*lines, self.conditions])

    def to_markdown(self) -> str:
        return f"{self._markdown()}\n\n{self.conditions}"

    def _markdown(self) -> str:
        head = "| | claim | verdict | measured |\n|---|---|---|---|"
        rows = [
            f"| {one.claim.number} | {one.claim.said} | {_bold(one.finding)} | {one.finding.measured} |"
            for one in self.rows
        ]
        return "\n".join([head, *rows])

    def to_json(self) -> str:
        rows = [{"number": one.claim.number, "claim": one.claim.said, **asdict(one.finding)} for one in self.rows]
        return json.dumps({"conditions": self.conditions, "claims": rows}, indent=1)

    def __repr__(self) -> str:
        counts = Counter(one.finding.verdict for one in self.rows)
        return f"{len(self.rows)} claims: " + ", ".join(f"{counts[one]} {one}" for one in Verdict)

    def _repr_markdown_(self) -> str:
        return self._markdown()

    def figure(self) -> Picture:
        """A figure of how many hold, by chapter."""
        from zephyr_lab.views.load import verdicts

        found: dict[str, dict[str, int]] = {
            about: dict(Counter[str](one.finding.verdict for one in self.rows if one.claim.about == about))
            for about in PARTS
        }
        return verdicts({about: counts for about, counts in found.items() if counts}, repr(self))

    def __add__(self, other: Table) -> Table:
        """The claims of both, decided on the same server, and the worse of their conditions."""
        return replace(
            self,
            rows=[*self.rows, *other.rows],
            others_share=max(self.others_share, other.others_share),
            with_load=self.with_load or other.with_load,
        )

    def verdicts(self) -> dict[int, Verdict]:
        return {one.claim.number: one.finding.verdict for one in self.rows}


def check(numbers: Sequence[int]) -> None:
    """Raises BadInput for a number that no claim has."""
    if unknown := set(numbers) - {one.number for one in CLAIMS}:
        raise BadInput(f"there is no claim {min(unknown)}; they are numbered from 1 to {len(CLAIMS)}")


def decide(
    bench: Bench, server: str, numbers: Sequence[int] = (), on_progress: Callable[[Claim], object] = lambda claim: None
) -> Table:
    """Decides the claims with those numbers, or all; `on_progress` is called with each before it is decided."""
    rows = []
    with bench.ends:
        for one in CLAIMS:
            if not numbers or one.number in numbers:
                on_progress(one)
                rows.append(Decided(one, one.decide(bench)))
    return Table(rows, server, bench.rate, bench.seconds, bench.others_share, with_load=bool(bench.reports))
