"""Django, Alembic and Celery as they are, and what cannot be explored, said so that one knows what to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from zephyr_lab import Lab, once
from zephyr_lab.errors import ScheduleError, StepTimeout

Conn = psycopg.Connection[Any]

SLOTS = """
create table slots (slot text primary key, booked int not null);
insert into slots values ('18:00', 90000);
"""


@pytest.fixture(scope="module")
def shop() -> SimpleNamespace:
    """A Django project of one model, whose database is not there."""
    import django
    from django.conf import settings
    from django.db import models

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "nowhere.invalid"}}
    )
    django.setup()

    class Slot(models.Model):
        slot = models.TextField(primary_key=True)
        booked = models.IntegerField()

        class Meta:
            app_label = "shop"
            db_table = "slots"

    def book() -> None:
        slot = Slot.objects.get(slot="18:00")
        slot.booked += 5000
        slot.save()

    return SimpleNamespace(Slot=Slot, book=book)


def safe_and_waited(lab: Lab, functions: list[Callable[..., Any]]) -> bool:
    found = lab.explore(functions, setup=SLOTS)
    return (found.anomalous, found.run.undecided, found.complete) == (0, 0, True) and found.run.blocked_steps > 0


def test_djangos_orm_is_explored_as_it_is(lab: Lab, shop: SimpleNamespace) -> None:
    """Its connections are opened by itself, to a host that is not there: they are the session's own all the same."""
    from django.db import transaction

    def book_locked() -> None:
        with transaction.atomic():
            slot = shop.Slot.objects.select_for_update().get(slot="18:00")
            slot.booked += 5000
            slot.save()

    found = lab.explore([shop.book, shop.book], setup=SLOTS)
    assert (found.schedules, found.anomalous, found.counterexample) == (6, 4, "A B B A")
    assert safe_and_waited(lab, [book_locked, book_locked])


def test_djangos_savepoints_bear_no_threads_number(lab: Lab, shop: SimpleNamespace) -> None:
    """In an inner atomic, in update_or_create, and where an IntegrityError is caught."""
    from django.db import IntegrityError, transaction
    from django.db.models import F

    def nested() -> None:
        with transaction.atomic(), transaction.atomic():
            shop.Slot.objects.update(booked=F("booked") + 1)

    def makes() -> None:
        shop.Slot.objects.update_or_create(slot="19:00", defaults={"booked": 5})

    def catches() -> str:
        with transaction.atomic():
            try:
                with transaction.atomic():
                    shop.Slot.objects.create(slot="19:00", booked=0)
            except IntegrityError:
                return "taken"
        return "mine"

    for function in (nested, makes, catches):
        assert safe_and_waited(lab, [function, function])


def test_djangos_asynchronous_orm_is_explored(lab: Lab, shop: SimpleNamespace) -> None:
    """asgiref has one thread for what is synchronous, and sessions have one each."""

    async def book() -> None:
        slot = await shop.Slot.objects.aget(slot="18:00")
        slot.booked += 5000
        await slot.asave()

    for function in (book, lambda: asyncio.run(book())):
        found = lab.explore([function, function], setup=SLOTS, shrink=False)
        assert (found.schedules, found.anomalous) == (6, 4)
    assert not [one for one in threading.enumerate() if one.name.startswith("session")]


@pytest.mark.thorough
def test_djangos_schema_editor_is_a_setup(lab: Lab, shop: SimpleNamespace) -> None:
    from django.db import connection

    def make() -> None:
        with connection.schema_editor() as editor:
            editor.create_model(shop.Slot)
        shop.Slot.objects.create(slot="18:00", booked=0)

    for setup in (make, once(make)):
        assert lab.explore([shop.book, shop.book], setup=setup, shrink=False).anomalous == 4


ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine

with create_engine("postgresql+psycopg://nowhere.invalid/shop").connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = f"""
from alembic import op

revision, down_revision = "one", None

def upgrade():
    op.execute({SLOTS!r})
"""


@pytest.mark.thorough
def test_alembics_upgrade_is_a_setup(lab: Lab, shop: SimpleNamespace, tmp_path: Path) -> None:
    """With an env.py of the project's, whose engine leads to the lab's schema."""
    command, config = pytest.importorskip("alembic.command"), pytest.importorskip("alembic.config")
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENVIRONMENT, encoding="utf-8")
    (tmp_path / "versions" / "one.py").write_text(REVISION, encoding="utf-8")

    def upgrade() -> None:
        settings = config.Config()
        settings.set_main_option("script_location", str(tmp_path))
        command.upgrade(settings, "head")

    found = lab.explore([shop.book, shop.book], setup=once(upgrade), shrink=False)
    assert found.anomalous == 4
    assert "alembic_version: version_num=one" in str(found)


def test_celerys_eager_tasks_are_the_sessions(lab: Lab, shop: SimpleNamespace) -> None:
    """That one waits for a task's result is its own business, and the ids of tasks are the same in every schedule."""
    celery = pytest.importorskip("celery")
    application = celery.Celery(broker="memory://", set_as_current=False)
    application.conf.update(task_always_eager=True, task_eager_propagates=True)

    @application.task
    def book() -> str:
        shop.book()
        return "booked"

    found = lab.explore([lambda: book.delay().get(), lambda: str(book.delay())], setup=SLOTS, shrink=False)
    assert (found.schedules, found.anomalous) == (6, 4)
    assert "A returned booked" in str(found).replace("'", "")


# -- what cannot be explored


def listens(conn: Conn) -> None:
    conn.autocommit = True
    conn.execute("listen bakers")


def test_listening_is_refused(lab: Lab) -> None:
    """At once; what is heard comes at any time, and would be heard in the next schedule too."""
    with pytest.raises(ScheduleError, match=r"session A listens \('listen bakers'\).*nobody can order"):
        lab.explore([listens, lambda conn: conn.execute("notify bakers")], setup=SLOTS)


@pytest.fixture
def impatient(lab: Lab) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.engine.runner, "step_seconds", 2.0)
        yield lab


def test_a_wait_for_a_prepared_transaction_is_named(impatient: Lab) -> None:
    def prepares(name: str) -> Callable[[Conn], None]:
        def run(conn: Conn) -> None:
            conn.autocommit = True
            conn.execute("begin; update slots set booked = booked + 1")
            conn.execute(f"prepare transaction '{name}'")
            conn.execute(f"commit prepared '{name}'")

        return run

    with pytest.raises(StepTimeout, match=r"session B in or after 'begin; update.*prepared transaction \('one'\)"):
        impatient.explore([prepares("one"), prepares("two")], setup=SLOTS)


LOCK = threading.Lock()


def locks(conn: Conn) -> None:
    with LOCK:
        conn.execute("update slots set booked = booked + 1")


def test_a_wait_for_a_lock_of_pythons_is_shown(impatient: Lab) -> None:
    with pytest.raises(StepTimeout, match=r"session B, at tests/functions/test_frameworks.py:\d+: with LOCK: neither"):
        impatient.explore([locks, locks], setup=SLOTS)
