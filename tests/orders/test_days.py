"""A day in Redis: whoever finds it lost opens it from PostgreSQL, and what an older Redis gave away is not sold."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.orders.conftest import NOON, Shop, order
from zephyr_lab.orders import clients
from zephyr_lab.orders.days import insert_booked, open_day
from zephyr_lab.orders.errors import DayNotOpen, OrderVoided, SlotsFull
from zephyr_lab.orders.models import Plan, Slot
from zephyr_lab.orders.reconcile import reconcile
from zephyr_lab.orders.session import Params, Row, Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.servers.embedded import Supervised, find_valkey

NAME = "redis-lua-idempotent"
SLOT, DAY, WINDOW = Slot.at(NOON), NOON.date(), Plan().window(NOON)


class RestartableValkey:
    """One that can be killed, and started again on what it last saved; `close` removes it."""

    def __init__(self) -> None:
        self._program = find_valkey()
        self.folder = Path(tempfile.mkdtemp(prefix="zephyr-lab-test-", dir="/tmp"))
        if self._program.account.uid is not None:
            os.chown(self.folder, self._program.account.uid, self._program.account.gid or -1)
        self.url = f"unix://:secret@{self.folder}/valkey.sock"
        self.start()

    def start(self) -> None:
        socket = f"{self.folder}/valkey.sock"
        Path(socket).unlink(missing_ok=True)
        configuration = f'port 0\nunixsocket {socket}\nunixsocketperm 700\ndir {self.folder}\nsave ""\n'
        order = {
            "prefix": "zephyr-lab-vk-",
            "stdin": configuration + "appendonly no\nrequirepass secret\n",
            "server": [self._program.command("valkey-server"), "-"],
            "ready": ["socket", socket],
            "stop": "SIGTERM",
        }
        self._server = Supervised(self._program, order)

    def kill(self) -> None:
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.close()

    def close(self) -> None:
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def restartable() -> Iterator[RestartableValkey]:
    with closing(RestartableValkey()) as server:
        yield server


def test_a_redis_that_was_emptied_is_filled_before_it_sells(shop: Shop) -> None:
    """By the slots' own capacities, which it has forgotten too."""
    shop.admin.execute("update slots set capacity_override = 1000")
    with shop.service(NAME) as service:
        first = [run_sync(service.create(order(900))).slot for _ in range(3)]
        shop.redis.flushall()
        second = [run_sync(service.create(order(900))).slot for _ in range(3)]
    assert len({*first, *second}) == 6
    assert shop.wrong(NAME) == []


def test_a_redis_that_starts_again_with_an_older_file_is_filled_before_it_sells(
    shop: Shop, restartable: RestartableValkey
) -> None:
    """It has the epoch that PostgreSQL has, but not the last order."""
    with closing(clients.redis_client(restartable.url)) as shop.redis, shop.service(NAME) as service:
        run_sync(service.create(order(30_000)))
        shop.redis.save()
        run_sync(service.create(order(60_000)))
        restartable.kill()
        restartable.start()
        assert run_sync(RedisSlots(shop.redis).slot_info(SLOT)).booked == 30_000
        assert run_sync(service.create(order(60_000))).slot == Slot.at(NOON + timedelta(minutes=15))
        assert shop.wrong(NAME) == []


def test_many_at_once_open_a_day_once(shop: Shop) -> None:
    """The others wait for the first, and find it open."""
    shop.redis.config_resetstat()
    with shop.service(NAME) as service, ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _: run_sync(service.create(order(450))), range(40)))
    assert all(one.is_new for one in told)
    assert shop.redis.info("commandstats")["cmdstat_hset"]["calls"] == 48 + 40
    assert shop.wrong(NAME) == []


def test_what_was_booked_before_redis_lost_the_day_is_not_saved(shop: Shop) -> None:
    """Its place may be another's by now; the order is booked again."""
    late, other = order(60_000), order(60_000)
    shop.open_day()
    slots = RedisSlots(shop.redis)
    place = run_sync(slots.assign_slot(late.id, 60_000, WINDOW, NOON))
    shop.redis.flushall()
    with shop.service(NAME) as service, shop.connect() as connection:
        assert run_sync(service.create(other)).slot == SLOT
        with pytest.raises(DayNotOpen):
            run_sync(insert_booked(Session(connection), late, place))
        assert run_sync(service.create(late)).slot == Slot.at(NOON + timedelta(minutes=15))
    assert shop.wrong(NAME) == []


class Uncommitted(Session):
    """Between an order's statement and its COMMIT."""

    async def at_once(self, sql: str, params: Params = None, *, may_wait: bool = False) -> Row | None:
        return await self.row(sql, params, may_wait=may_wait)


@pytest.mark.parametrize("isolation", [psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_day_is_opened_after_the_orders_that_are_being_saved(shop: Shop, isolation: psycopg.IsolationLevel) -> None:
    """An order that is saved, and not yet committed, is waited for, and is in Redis when it is open."""
    shop.open_day()
    slots, first = RedisSlots(shop.redis), order(60_000)
    place = run_sync(slots.assign_slot(first.id, 60_000, WINDOW, NOON))
    shop.redis.flushall()
    with shop.connect() as saving, shop.connect() as opening, ThreadPoolExecutor(1) as threads:
        run_sync(insert_booked(Uncommitted(saving), first, place))
        opened = threads.submit(run_sync, open_day(Session(opening, isolation=isolation), slots, DAY))
        waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and pid = %s"
        while not opened.done() and not shop.admin.execute(waiting, [opening.info.backend_pid]).rowcount:
            threading.Event().wait(0.01)
        assert not opened.done()
        saving.commit()
        assert opened.result(20) == 1
    assert run_sync(slots.slot_info(SLOT)).booked == 60_000


def test_an_order_that_waits_for_the_opening_of_its_day_is_not_saved_under_the_old_epoch(shop: Shop) -> None:
    """Its statement began before the new epoch was committed."""
    shop.open_day()
    late = order(60_000)
    place = run_sync(RedisSlots(shop.redis).assign_slot(late.id, 60_000, WINDOW, NOON))
    with shop.connect() as opening, shop.connect() as saving, ThreadPoolExecutor(1) as threads:
        opening.execute("select from slot_epochs for update")
        opening.execute("update slot_epochs set epoch = gen_random_uuid()")
        saved = threads.submit(run_sync, insert_booked(Session(saving), late, place))
        waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and pid = %s"
        while not saved.done() and not shop.admin.execute(waiting, [saving.info.backend_pid]).rowcount:
            threading.Event().wait(0.01)
        assert not saved.done()
        opening.commit()
        with pytest.raises(DayNotOpen):
            saved.result(20)
        saving.commit()
    assert shop.count() == shop.count("order_ids") == 0


def test_an_order_that_is_sent_again_on_another_day_takes_no_second_place(shop: Shop) -> None:
    """Nor one that was cancelled, or voided, on its own day."""
    wanted, gone, late = order(60_000), order(20_000), order(10_000)
    tomorrow = wanted.model_copy(update={"created_at": NOON + timedelta(days=1)})
    shop.admin.execute("select ensure_orders_partitions(2)")
    slots = RedisSlots(shop.redis)
    with shop.service(NAME) as service, shop.connect() as connection:
        first = run_sync(service.create(wanted))
        again = run_sync(service.create(tomorrow))
        assert (again.slot, again.is_new) == (first.slot, False)
        assert run_sync(slots.bookings(tomorrow.created_at.date())) == {}
        run_sync(service.create(gone))
        run_sync(service.cancel(gone.id))
        assert not run_sync(service.create(gone)).is_new
        run_sync(slots.assign_slot(late.id, 10_000, WINDOW, NOON))
        run_sync(reconcile(Session(connection), DAY, slots, repair=True, now=NOON + timedelta(hours=1)))
        with pytest.raises(OrderVoided):
            run_sync(service.create(late))
        assert list(run_sync(slots.bookings(DAY))) == [wanted.id]
    assert shop.wrong(NAME) == []


def test_a_slot_that_is_none_of_postgresqls_is_not_sold(shop: Shop) -> None:
    """There is no capacity that would be taken for it."""
    shop.admin.execute("delete from slots where start_time < %s", [NOON + timedelta(hours=6)])
    shop.admin.execute("delete from slots where start_time >= %s", [NOON + timedelta(hours=8)])
    shop.admin.execute("update slot_plans set opens = '18:00', closes = '20:00'")
    with shop.service(NAME) as service:
        assert run_sync(service.create(order(450, now=NOON + timedelta(minutes=25)))).slot.start.hour == 18
    assert shop.wrong(NAME) == []


def test_reconcile_opens_a_day_that_redis_has_lost(shop: Shop) -> None:
    """A dry run says so, and does not; a day on which nothing was ever booked has no difference."""
    slots = RedisSlots(shop.redis)
    with shop.service(NAME) as service, shop.connect() as connection:
        session = Session(connection)
        assert run_sync(reconcile(session, DAY, slots)) == []
        run_sync(service.create(order(5_000)))
        assert run_sync(reconcile(session, DAY, slots)) == []
        shop.redis.flushall()
        said = run_sync(reconcile(session, DAY, slots))
        assert "has lost" in str(said[0])
        assert run_sync(slots.epoch(DAY)) == ""
        (told,) = run_sync(reconcile(session, DAY, slots, repair=True))
        assert "1 orders put back" in str(told)
        assert run_sync(reconcile(session, DAY, slots)) == []
    assert shop.wrong(NAME) == []


def test_reconcile_sets_capacities_and_disabled_slots_in_redis(shop: Shop) -> None:
    """A slot that is not there as well; then nothing is sold that PostgreSQL would not sell."""
    slots = RedisSlots(shop.redis)
    with shop.service(NAME) as service, shop.connect() as connection:
        session = Session(connection)
        run_sync(service.create(order(450)))
        shop.admin.execute("update slots set is_disabled = true where start_time <> %s", [NOON])
        shop.admin.execute("update slots set capacity_override = 500 where start_time = %s", [NOON])
        shop.redis.delete(f"{{slots:{DAY}}}:{int((NOON + timedelta(minutes=15)).timestamp())}")
        said = [str(one) for one in run_sync(reconcile(session, DAY, slots))]
        assert len(said) == 48
        assert sum("does not have the slot" in one for one in said) == 1
        assert len(run_sync(reconcile(session, DAY, slots, repair=True))) == 48
        assert run_sync(reconcile(session, DAY, slots)) == []
        with pytest.raises(SlotsFull):
            run_sync(service.create(order(450)))
    assert shop.wrong(NAME) == []


def test_reconcile_does_not_put_back_an_order_that_is_just_being_cancelled(shop: Shop) -> None:
    """Its place would be given back before it is put back, and then be taken for good."""
    slots, gone = RedisSlots(shop.redis), order(5_000)
    with shop.service(NAME) as service, shop.connect() as cancelling, shop.connect() as repairing:
        run_sync(service.create(gone))
        run_sync(slots.release_slot(gone.id, DAY))
        cancelling.execute("update orders set status = 'cancelled', cancelled_at = now()")
        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(run_sync, reconcile(Session(repairing), DAY, slots, repair=True))
            waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and pid = %s"
            while not told.done() and not shop.admin.execute(waiting, [repairing.info.backend_pid]).rowcount:
                threading.Event().wait(0.01)
            cancelling.commit()
            assert [one.remedy for one in told.result(20)] == ["cancelled meanwhile"]
    assert shop.wrong(NAME) == []
