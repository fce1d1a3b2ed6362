"""Redis's part: scripts that run on a cluster, reconciling by command, and how often is tried again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from psycopg.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from tests.orders.conftest import NOON, Shop, order
from tests.servers.pgbouncer import free_port
from zephyr_lab.orders import example, retry, schema
from zephyr_lab.orders.documented import DocumentedSlots
from zephyr_lab.orders.errors import SlotsFull
from zephyr_lab.orders.models import Plan, Slot
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots, Setting
from zephyr_lab.servers.embedded import Supervised, find_valkey


@pytest.fixture(scope="module")
def cluster() -> Iterator[redis.Redis]:
    """A Valkey in cluster mode that has all hash slots: it refuses whatever a cluster of many would have to refuse."""
    port, bus, program = free_port(), free_port(), find_valkey()
    configuration = (
        f"port {port}\ncluster-port {bus}\nbind 127.0.0.1\ncluster-enabled yes\n"
        "unixsocket {folder}/valkey.sock\nunixsocketperm 700\n"
        'dir {folder}\nsave ""\nappendonly no\nrequirepass secret\n'
    )
    server = Supervised(
        program,
        {
            "prefix": "zephyr-lab-vk-",
            "stdin": configuration,
            "server": [program.command("valkey-server"), "-"],
            "ready": ["socket", "{folder}/valkey.sock"],
            "stop": "SIGTERM",
        },
    )
    client = redis.Redis.from_url(f"unix://:secret@{server.folder}/valkey.sock", decode_responses=True)
    client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    deadline = time.monotonic() + 20
    while "cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    yield client
    client.close()
    server.close()


@pytest.mark.server
def test_the_scripts_run_on_a_cluster_and_the_documented_ones_do_not(cluster: redis.Redis) -> None:
    """All keys of a day have its hash tag, and every key is in KEYS."""
    slots, one = RedisSlots(cluster), example.order(1)
    run_sync(slots.open(example.SLOT.day, "1", [Setting(example.SLOT, 100_000, False)], {}))
    assert run_sync(slots.assign_slot(one.id, 3_000, example.WINDOW, example.NOW)).slot == example.SLOT
    assert run_sync(slots.recount(example.SLOT)) == (3_000, 3_000)
    assert run_sync(slots.release_slot(one.id, example.SLOT.day)) == 3_000
    assert run_sync(slots.restore(one.id, 3_000, example.SLOT))
    assert run_sync(slots.loads([example.SLOT])) == {example.SLOT.id: 3_000}
    with pytest.raises(redis.exceptions.ResponseError, match="slot"):
        run_sync(DocumentedSlots(cluster).assign_slot(one.id, 3_000, example.WINDOW))


def attempts(policy: retry.Policy, error: Exception) -> list[float]:
    """The pauses before each further attempt of something that always fails so."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run_sync(policy.call(fail, sleep=sleep))
    return pauses


def test_the_policies_are_the_write_ups(shop: Shop) -> None:
    """Five attempts from 10 ms, three from 5 ms, doubled, with jitter; a full slot is never asked again."""
    for error in (SerializationFailure(), DeadlockDetected()):
        pauses = attempts(retry.SAVE, error)
        assert len(pauses) == 4
        assert all(0.010 * 2**n <= pause <= 0.010 * 2**n + 0.010 for n, pause in enumerate(pauses))
    assert len(attempts(retry.ASSIGN, SerializationFailure())) == 2
    wrapped = RuntimeError("error saving the order")
    wrapped.__cause__ = SerializationFailure()
    assert len(attempts(retry.SAVE, wrapped)) == 4
    for error in (UniqueViolation(), SlotsFull("full"), ValueError("could not serialize access")):
        assert attempts(retry.SAVE, error) == attempts(retry.ASSIGN, error) == []
    shop.open_day()
    sent = 0
    real = shop.redis.evalsha

    def count(*words: Any) -> Any:
        nonlocal sent
        sent += 1
        return real(*words)

    shop.redis.evalsha = count
    with shop.connect() as connection:
        wanted = (Session(connection), order(1).id, 100_001, Plan().window(NOON), NOON)
        with pytest.raises(SlotsFull):
            run_sync(RedisSlots(shop.redis).assign_slot_with_retry(*wanted))
    assert sent == 1


@pytest.mark.thorough
def test_reconcile_tells_and_repairs_only_when_asked(shop: Shop) -> None:
    """Exit 1 where something differs and was left so; bad input is a line and exit 2."""
    program = [str(Path(sys.executable).with_name("zephyr-lab")), "reconcile"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}

    def call(*words: str, redis_url: str = shop.redis_url) -> subprocess.CompletedProcess[str]:
        env = {**clean, "ZEPHYR_LAB_PG_DSN": shop.dsn, "ZEPHYR_LAB_REDIS_URL": redis_url}
        return subprocess.run([*program, *words], capture_output=True, text=True, timeout=60, env=env)

    with shop.service("redis-lua-idempotent") as service:
        run_sync(service.create(order(5_000)))
    shop.redis.flushall()
    told, again = call(), call("--repair")
    assert (told.returncode, again.returncode) == (1, 0)
    assert "would be put back" in told.stdout
    assert "1 orders put back" in again.stdout
    assert run_sync(RedisSlots(shop.redis).slot_info(Slot.at(NOON))).booked == 5_000
    for words, where, said in ((["--day", "today"], shop.redis_url, "is no day"), ([], "unix:///nowhere", "Redis")):
        bad = call(*words, redis_url=where)
        assert (bad.returncode, said in bad.stderr, "Traceback" in bad.stderr) == (2, True, False), bad.stderr


@pytest.mark.thorough
def test_reconcile_watches_and_writes_json_until_it_is_told_to_end(shop: Shop) -> None:
    """A line each time; a server that does not answer does not end it; SIGTERM does, with 0."""
    program = [str(Path(sys.executable).with_name("zephyr-lab")), "reconcile", "--format", "json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    env |= {"ZEPHYR_LAB_PG_DSN": shop.dsn, "ZEPHYR_LAB_REDIS_URL": shop.redis_url, "PGTZ": "Europe/Moscow"}
    wanted = order(5_000)
    with shop.service("redis-lua-idempotent") as service:
        run_sync(service.create(wanted))
    run_sync(RedisSlots(shop.redis).release_slot(wanted.id, NOON.date()))
    words = [*program, "--repair", "--watch", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout
            assert process.stderr
            first = json.loads(process.stdout.readline())
            (told,) = first["differences"]
            assert (told["order"], told["start"], told["remedy"]) == (str(wanted.id), NOON.isoformat(), "put back")
            assert json.loads(process.stdout.readline())["differences"] == []
            with schema.missing_table(shop.admin):
                assert "undefined_table" in process.stderr.readline()
            assert json.loads(process.stdout.readline())["differences"] == []
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
