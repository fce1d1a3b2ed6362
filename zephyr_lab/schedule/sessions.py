"""The sessions' connections, kept from run to run, and each one's `deadlock_timeout`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psycopg
from psycopg import pq

from zephyr_lab.errors import SetupFailed
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.servers.database import Database

Settings = dict[str, str]

IN_TRANSACTION = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

# deadlock_timeout of sessions that should not be a deadlock's victim. Two waits rarely begin further apart than the
# distance, so in a deadlock the first session of the spec is aborted, unless an impatient one is involved.
PATIENCE_MS, DISTANCE_MS = 1_000, 300
CHOSEN_VICTIM_MS, SPARED_MS = 500, 20_000


class Sessions:
    """Connections by the session's name, each with the parameters that it was opened with."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._channels: dict[str, tuple[Channel, Settings]] = {}

    @property
    def unfinished(self) -> bool:
        """Whether a session is in a transaction, or busy: its execution was not finished."""
        return any(channel.busy or channel.status in IN_TRANSACTION for channel, _ in self._channels.values())

    def start(self, spec: Spec, isolation: IsolationLevel, patience: dict[str, int] | None) -> dict[str, Channel]:
        """The connections of a spec's sessions, which start DISCARD ALL; `settle` waits for its end.

        Others are closed: what an absent session still holds, such as an advisory lock, could block the others.
        """
        wanted = _settings(spec, isolation, patience)
        self.release([name for name in self._channels if name not in wanted])
        return self._open(wanted)

    def settle(
        self, channels: dict[str, Channel], spec: Spec, isolation: IsolationLevel, patience: dict[str, int] | None
    ) -> None:
        """Ready for the first step. Raises SetupFailed."""
        self._settle(channels, _settings(spec, isolation, patience))

    def patience(self, spec: Spec, victim: str | None) -> dict[str, int] | None:
        """Each session's deadlock_timeout in milliseconds; None if the role may not set it, or the spec does."""
        if not self._database.facts.may_set_deadlock_timeout or spec.mentions("deadlock_timeout"):
            return None
        if victim:
            return {name: CHOSEN_VICTIM_MS if name == victim else SPARED_MS for name in spec.session_names}
        return {name: PATIENCE_MS + place * DISTANCE_MS for place, name in enumerate(spec.session_names)}

    def _open(self, wanted: dict[str, Settings]) -> dict[str, Channel]:
        """Each session's connection, which starts DISCARD ALL."""
        channels = {}
        for name, settings in wanted.items():
            known = self._channels.get(name)
            if known and known[1].keys() != settings.keys():
                self.release([name])
                known = None
            if known is None:
                known = self._channels[name] = Channel(name, self._database.open(name, **settings)), settings
            channels[name] = known[0]
            channels[name].start("discard all", f"session {name}")
        return channels

    def join(self, spec: Spec, isolation: IsolationLevel, session: str) -> Channel:
        """The connection of a session of `spec` that joins a running execution."""
        wanted = {session: _settings(spec, isolation, self.patience(spec, None))[session]}
        channels = self._open(wanted)
        self._settle(channels, wanted)
        return channels[session]

    def _settle(self, channels: dict[str, Channel], wanted: dict[str, Settings]) -> None:
        for name, channel in channels.items():
            try:
                channel.finish()
            except SetupFailed:
                if not channel.lost:
                    raise
                self.release([name])  # an earlier run terminated its backend at the end
                channels |= self._open({name: wanted[name]})
                channels[name].finish()
            opened_with = self._channels[name][1]
            other = [f"set {key} = '{value}'" for key, value in wanted[name].items() if opened_with[key] != value]
            if other:
                channels[name].execute("; ".join(other), f"session {name}")

    def abandon(self) -> None:
        """Ends all connections, whatever they are doing, and rolls their transactions back."""
        for channel, _ in self._channels.values():
            with contextlib.suppress(psycopg.Error):
                channel.cancel()
            channel.close()
        self._channels.clear()

    def release(self, names: Iterable[str]) -> None:
        """Removes connections that cannot be used again."""
        for name in names:
            self._channels.pop(name)[0].close()


def _settings(spec: Spec, isolation: IsolationLevel, patience: dict[str, int] | None) -> dict[str, Settings]:
    level = {"default_transaction_isolation": str(isolation)}
    if patience is None:
        return dict.fromkeys(spec.session_names, level)
    return {name: {**level, "deadlock_timeout": f"{patience[name]}ms"} for name in spec.session_names}
