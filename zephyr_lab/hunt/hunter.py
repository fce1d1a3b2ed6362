"""Hunts: meets each operation alone, and has the pairs that may race decided within the time that there is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zephyr_lab.errors import ServerLost, ServerUnavailable
from zephyr_lab.hunt.candidates import Candidate, Independent, Names, judged, pairs, ranked, triples
from zephyr_lab.hunt.decision import Decision, Explores, Kind, undecided
from zephyr_lab.hunt.found import Known
from zephyr_lab.hunt.operation import Met, Operations, named, session_names
from zephyr_lab.hunt.report import Hunt
from zephyr_lab.hunt.workers import Decides, Elsewhere, InThisProcess
from zephyr_lab.options import RUN_OPTIONS

LAST_SECONDS = 0.5  # less is not worth the start of an exploration
_INTERRUPTED = "interrupted before it was decided"
LEAST_SECONDS = 2.0  # in which most pairs are decided: the first have so much, though the last then have nothing


@dataclass
class Hunter:
    """`operations` by name: functions or requests, as `lab` explores them. `options` are those of `Explores.explore`.

    `budget` is in seconds, for the whole hunt; `elsewhere` are workers, which have a lab of their own each. `export` is
    a folder for the files that show each race to others, `history` one for its history. `on_progress` gets the state
    after each decision.
    """

    lab: Explores
    operations: Mapping[str, Any]
    options: Mapping[str, Any]
    elsewhere: Elsewhere | None = None
    triples: bool = False
    budget: float | None = None
    export: Path | None = None
    history: Path | None = None
    on_progress: Callable[[Hunt], None] | None = None
    _met: dict[str, Met] = field(default_factory=dict, init=False)

    def run(self) -> Hunt:
        """An interrupt ends it with what it has found, and so does the end of a service or a server, once there is any.

        Raises BadInput, SetupFailed, ServerLost, ServerUnavailable.
        """
        began = time.monotonic()
        self._deadline = None if self.budget is None else began + self.budget
        given = {name: one for name, one in self.options.items() if name in RUN_OPTIONS}
        self._operations = Operations(
            self.lab, self.operations, given, trusts_memory=self.options.get("reduction") is True
        )
        self._names = session_names(list(self.operations))
        self._hunt = Hunt(str(self.options.get("isolation", "read committed")))
        try:
            self._meet()
            self._decide_all()
        except KeyboardInterrupt:
            self._hunt.interrupted = True
        except (ServerLost, ServerUnavailable) as error:
            if not self._hunt.decisions:
                raise
            self._hunt.interrupted = True
            self._hunt.notes.append(f"ended early: {error}")
        self._hunt.seconds = time.monotonic() - began
        return self._hunt

    # -- what there is to decide

    def _meet(self) -> None:
        self._met = self._operations.prefixes()
        for name, met in self._met.items():
            alone = self._operations.meet(name)
            text = met.footprint.text() if met.footprint else ""
            self._hunt.operations[name] = Known(
                met.prefix, text, alone.trouble, self._operations.place(name), met.footprint is not None
            )

    def _judged(self, names: Names) -> Candidate | Independent:
        """A pair, in the state that what its operations need before them leaves."""
        prefix = tuple(dict.fromkeys(one for name in names for one in self._met[name].prefix))
        met = [self._operations.meet(name, prefix) for name in names]
        if any(one.footprint is None for one in met):
            why = next(one.trouble for one in met if one.footprint is None)
            return Candidate(names, prefix, "not-understood", why)
        return judged(names, prefix, [one.footprint for one in met if one.footprint])

    def _decide_all(self) -> None:
        hunted = [name for name, met in self._met.items() if met.footprint is not None]
        all_judged = {names: self._judged(names) for names in pairs(hunted)}
        for names, one in all_judged.items():
            if isinstance(one, Independent):
                self._hunt.decisions[names] = self._tested(Decision(names, Kind.SAFE, one.why, prefix=one.prefix))
        candidates = ranked(one for one in all_judged.values() if isinstance(one, Candidate))
        alone = [self._alone(name) for name in hunted] if self._has_faults() else []
        decides = self._decides()
        self._decide(alone, decides, later=len(candidates))  # it decides what the pairs are hunted with
        self._decide(candidates, decides)
        if self.triples:
            self._decide(self._triples(hunted, all_judged), decides)

    def _has_faults(self) -> bool:
        return bool(self.options.get("faults") or self.options.get("time"))

    def _alone(self, name: str) -> Candidate:
        """With faults, an operation is hunted alone as well: it may stop halfway."""
        return Candidate((name,), self._met[name].prefix, "not-atomic", "it may end at any round trip")

    def _triples(self, hunted: Sequence[str], all_judged: Mapping[Names, Candidate | Independent]) -> list[Candidate]:
        def known(names: Names) -> Candidate | None:
            one = all_judged[names]
            return one if isinstance(one, Candidate) else None

        def is_open(names: Names) -> bool:
            return self._hunt.decisions[names].kind in (Kind.SAFE, Kind.ABORTS)

        return triples(hunted, lambda names: known(names) is None, is_open, known)

    def _decides(self) -> Decides:
        if self.elsewhere is None:
            return InThisProcess(self.lab)
        if why := self.elsewhere.why_not(self.operations, self.options):
            self._hunt.notes.append(f"one process, not {self.elsewhere.jobs}: {why}")
            return InThisProcess(self.lab)
        return self.elsewhere

    # -- deciding

    def _decide(self, candidates: Sequence[Candidate], decides: Decides, later: int = 0) -> None:
        """Each has its share of the time left; what did not suffice is tried again with what others have left over.

        What has failed is tried once more, too: pools, and a busy machine, are not as they were then. So many more come
        `later`, and have their shares as well.
        """
        waiting = deque(candidates)
        running: list[Candidate] = []
        had: dict[Names, float] = {}
        one: Candidate | None = None  # at hand
        try:
            while waiting or running:
                while waiting and len(running) < decides.jobs:
                    one = waiting.popleft()
                    share = self._share(len(waiting) + 1 + later, decides.jobs)
                    if share is None or share > max(LAST_SECONDS, 2 * had.get(one.operations, 0.0)):
                        running.append(one)
                        self._start(one, decides, share)
                    elif one.operations not in had:
                        self._note(undecided(one, "the budget ended before its turn"))
                if running:
                    one, decision = decides.take()
                    running.remove(one)
                    if isinstance(decision, Exception):
                        raise decision
                    self._note(decision)
                    if decision.interrupted:
                        raise KeyboardInterrupt
                    if decision.ran_out or (decision.failed and one.operations not in had):
                        had[one.operations] = decision.seconds if decision.ran_out else 0.0
                        waiting.append(one)
        except (KeyboardInterrupt, ServerLost, ServerUnavailable) as ended:
            self._leave([one] if one else [], str(ended) or _INTERRUPTED)
            self._leave([*running, *waiting], _INTERRUPTED)
            raise

    def _leave(self, candidates: Sequence[Candidate], why: str) -> None:
        for one in candidates:
            if one.operations not in self._hunt.decisions:
                self._hunt.decisions[one.operations] = undecided(one, why)

    def _share(self, candidates: int, jobs: int) -> float | None:
        """Seconds for one of so many candidates; None for as many as it takes."""
        if self._deadline is None:
            return None
        return share_of(self._deadline - time.monotonic(), candidates, jobs)

    def _start(self, candidate: Candidate, decides: Decides, seconds: float | None) -> None:
        sessions = {name: self.operations[one] for name, one in named(candidate.operations, self._names)}
        setup = self._operations.setup(candidate.operations, candidate.prefix)
        about = {**self.options, "setup": setup, "export": self.export, "history": self.history}
        if self._halved(candidate.operations):
            about = {name: one for name, one in about.items() if name not in ("faults", "time")}
        decides.give(candidate, sessions, about, seconds)

    def _halved(self, operations: Names) -> str:
        """The first of several operations that a fault stops halfway when it is alone, which would be found again."""
        alone = [name for name in operations if len(operations) > 1 and (name,) in self._hunt.decisions]
        return next((name for name in alone if self._hunt.decisions[name,].kind is Kind.RACES), "")

    def _tested(self, decision: Decision) -> Decision:
        """As it is, unless it is said to be safe of operations that all fail even alone."""
        met = [self._operations.meet(name, decision.prefix) for name in decision.operations]
        if decision.kind is not Kind.SAFE or self.options.get("may_raise") or not all(one.trouble for one in met):
            return decision
        troubles = " and ".join(dict.fromkeys(one.trouble for one in met))
        return replace(decision, kind=Kind.UNDECIDED, why=f"nothing was tested: {troubles}; give a setup for them")

    def _note(self, decision: Decision) -> None:
        decision = self._tested(decision)
        if name := self._halved(decision.operations):
            decision = replace(decision, why=f"{decision.why}; without faults, as {name} is not atomic alone")
        self._hunt.decisions[decision.operations] = decision
        if self.on_progress:
            self.on_progress(self._hunt)


def share_of(left: float, candidates: int, jobs: int) -> float:
    """Of so many seconds, those for one of so many candidates."""
    left = max(0.0, left)
    return max(left * min(jobs, candidates) / candidates, min(left, LEAST_SECONDS))
