"""What no outcome holds is named only: files, locks, processes; and where nothing was tested, what to do."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.functions.test_outcome import Conn, Redis, T, skewed, writes
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, NothingTested, SetupFailed


def test_what_no_outcome_holds_is_named(lab: Lab, tmp_path: Path) -> None:
    """Only what is used, once each, on the screen and in JSON."""

    def uses(conn: Conn, redis: Redis) -> None:
        conn.execute("select pg_notify('bakers', 'mill')")
        conn.execute("select pg_advisory_lock(1)")
        redis.publish("bakers", "mill")
        redis.set("k", 1, ex=1000)
        (tmp_path / "out.txt").write_text("mill")
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            pass

    found = lab.explore([uses], setup=T)
    assert found.not_compared == (
        "advisory locks that a session still holds at its end",
        "files that functions write",
        "how long keys of Redis have to live: only whether they expire",
        "messages published in Redis (PUBLISH)",
        "notifications (NOTIFY): who would hear them, and when",
        "what other servers are sent or answer (HTTP, mail)",
    )
    assert "used, and not compared: advisory locks that a session still holds at its end; files" in str(found)
    assert found.to_dict()["not_compared"] == list(found.not_compared)
    assert lab.explore([skewed, writes], setup=T).not_compared == ()


def test_an_advisory_lock_that_was_let_go_is_not_named(lab: Lab) -> None:
    """As often as it was taken."""

    def locks(unlocks: int) -> Callable[[Conn], None]:
        def lock(conn: Conn) -> None:
            conn.execute("select pg_advisory_lock(1), pg_advisory_lock(1)")
            for _ in range(unlocks):
                conn.execute("select pg_advisory_unlock(1)")

        return lock

    assert lab.explore([locks(2)], setup=T).not_compared == ()
    assert lab.explore([locks(1)], setup=T).not_compared == ("advisory locks that a session still holds at its end",)


def test_a_setup_of_c_that_takes_nothing_is_given_nothing(lab: Lab) -> None:
    """A dict's `clear`; of what does not say what it takes, the error says what it was given."""
    told: dict[str, int] = {}

    def tells(conn: Conn) -> int:
        writes(conn)
        return told.setdefault("told", len(told))

    assert lab.explore([tells], setup=[T, told.clear]).schedules == 1
    with pytest.raises(SetupFailed, match="does not say what it takes, and was given a connection"):
        lab.explore([tells], setup=[T, told.pop])


def test_where_nothing_was_tested_the_way_on_fits_the_error(lab: Lab) -> None:
    """Names in SQL only where the database was asked; a client that decodes, where bytes were to be read."""

    def of_python(conn: Conn) -> int:
        writes(conn)
        return {"a": 1}["b"]

    def of_redis(redis: Redis) -> Any:
        redis.set("k", pickle.dumps({"a": 1}))
        return pickle.loads(redis.get("k"))  # type: ignore[arg-type]

    with pytest.raises(NothingTested, match="Is there a mistake in the function"):
        lab.explore([of_python], setup=T)
    with pytest.raises(NothingTested, match="decodes what it reads"):
        lab.explore([of_redis], setup=T)
    url = lab.redis_url

    def of_its_own(conn: Conn) -> Any:
        with Redis.from_url(url) as redis:
            redis.set("k", pickle.dumps({"a": 1}))
            return pickle.loads(redis.get("k"))  # type: ignore[arg-type]

    assert "returned {'a': 1}" in str(lab.explore([of_its_own], setup=T))


def test_nothing_is_called_safe_where_every_function_raises(lab: Lab) -> None:
    """A name that is wrong everywhere; one that returns, or is aborted, or an anomaly, is another matter."""

    def wrong(conn: Conn) -> None:
        conn.execute("select n from tt")

    with pytest.raises(NothingTested, match=r"session A raised 42P01 undefined table; session B .* may_raise=True"):
        lab.explore([wrong, wrong], setup=T)
    assert lab.explore([wrong, wrong], setup=T, may_raise=True).anomalous == 0
    assert lab.explore([wrong, writes], setup=T).anomalous == 0


def test_what_is_to_be_ignored_must_be_there(lab: Lab) -> None:
    with pytest.raises(BadInput, match=r"ignore='t.m': the columns of t are n"):
        lab.explore([skewed, writes], setup=T, ignore=["t.m"])
    with pytest.raises(BadInput, match=r"ignore='tt.n': there is no table 'tt' in the end; there are: t"):
        lab.replay([skewed, writes], "A B", setup=T, ignore=["tt.n"])
