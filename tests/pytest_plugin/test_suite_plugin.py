"""`pytest --zephyr-hunt`, seen from another project: its suite is recorded, and replayed elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.pytest_plugin.conftest import Project
from tests.pytest_plugin.test_django import MODELS, SETTINGS

pytest_plugins = "pytester"
pytestmark = pytest.mark.server

SHOP = """
def book(conn, slot=1):
    (free,) = conn.execute("select free from slots where id = %s", [slot]).fetchone()
    if free < 1:
        return "sold out"
    conn.execute("update slots set free = %s where id = %s", [free - 1, slot])
    return "booked"

def book_at_once(conn, slot=1):
    with conn.transaction():
        conn.execute("select free from slots where id = %s", [slot]).fetchone()
        return conn.execute("update slots set free = free - 1 where id = %s and free > 0", [slot]).rowcount

def subscribe(conn, email):
    if conn.execute("select 1 from subscribers where email = %s", [email]).fetchone():
        return False
    conn.execute("insert into subscribers (email) values (%s)", [email])
    return True

def load(conn):
    with conn.cursor().copy("copy slots from stdin") as copy:
        copy.write_row((9, 9))
"""
FIXTURES = """
import os, psycopg, pytest

TABLES = '''
    create table slots (id int primary key, free int not null);
    create table subscribers (id serial primary key, email text);
'''

@pytest.fixture(scope="session")
def dsn():
    dsn = os.environ["ZEPHYR_LAB_PG_DSN"]
    with psycopg.connect(dsn, autocommit=True) as conn:
        name = f"suite_{os.getpid()}"
        conn.execute(f"create schema {name}; set search_path = {name};" + TABLES)
        yield f"{dsn} options=-csearch_path={name}"
        conn.execute(f"drop schema {name} cascade")

@pytest.fixture
def conn(dsn):
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into slots values (1, 3), (2, 2)")
        yield conn
        conn.rollback()
"""
SUITE = """
import shop

def test_book(conn):
    assert shop.book(conn) == "booked"
    assert conn.execute("select free from slots where id = 1").fetchone() == (2,)

def test_the_other_one(conn):
    assert shop.book_at_once(conn, 2) == 1

def test_subscribe(conn):
    assert shop.subscribe(conn, "eve")
    assert not shop.subscribe(conn, "eve")

def test_load(conn):
    shop.load(conn)
"""


def write_shop(project: Project) -> None:
    project.write("shop.py", SHOP)
    (project.path / "tests").mkdir()
    project.write("tests/conftest.py", FIXTURES)
    project.write("tests/test_shop.py", SUITE)
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")


def counts_of(file: Path) -> dict[tuple[str, str], str]:
    told = json.loads(file.read_text(encoding="utf-8"))
    return {tuple(one["operations"]): one["kind"] for one in told["decisions"]}


def test_the_races_of_a_suite_are_found(project: Project, dsn: str) -> None:
    """The suite passes as ever; its server holds nothing afterwards, not even a schema of the lab's."""
    write_shop(project)
    run = project.pytest("--zephyr-hunt", "--zephyr-hunt-format=json", "--zephyr-hunt-output=races.json")
    run.assert_outcomes(passed=4)
    assert run.ret == 0
    run.stdout.fnmatch_lines(
        [
            "*= zephyr hunt =*",
            "4 operations, 10 pairs at read committed: *",
            "read-then-write at shop.py:3: *",
            "  book with book: an outcome that no serial order gives, after *",
            "*book    shop.py:3  begin; select free from slots where id = 1  -> 3",
            "*book-2  shop.py:6  update slots set free = 2 where id = 1 *",
            "count-then-insert at shop.py:15: *",
            "*subscribe-2  shop.py:15  begin; select 1 from subscribers where email = 'eve'  -> no rows",
            "book with book_at_once: undecided: the suite gave them different rows (slots.id): *",
            "replayed as SQL: decisions of the program between statements are not re-made",
            "not recorded: calls that use COPY: 1",
            "written to races.json",
        ]
    )
    kinds = counts_of(project.path / "races.json")
    assert {names for names, kind in kinds.items() if kind == "races"} == {("book",) * 2, ("subscribe",) * 2}
    assert kinds["book_at_once", "book_at_once"] == "safe"
    with psycopg.connect(dsn) as connection:
        named = "select count(*) from pg_namespace where nspname like 'zephyr%' or nspname like 'suite%'"
        assert connection.execute(named).fetchone() == (0,)


@pytest.mark.thorough
def test_what_a_run_may_ask_for(project: Project) -> None:
    """Workers hand over what they have recorded; strict fails the run; a setup of one's own; no code, no hunt."""
    write_shop(project)
    run = project.pytest("-p", "xdist", "-n", "2", "--zephyr-hunt", "--zephyr-hunt-strict")
    run.assert_outcomes(passed=4)
    assert run.ret == 1
    run.stdout.fnmatch_lines(["4 operations, 10 pairs at read committed: *races*"])
    project.write("tables.sql", "create table slots (id int primary key, free int); insert into slots values (1, 5)")
    project.write("pytest.ini", "[pytest]\npythonpath = .\nzephyr_hunt_setup = tables.sql\n")
    run = project.pytest("--zephyr-hunt", "-k", "test_book")
    run.stdout.fnmatch_lines(["*shop.py:3  begin; select free from slots where id = 1  -> 5"])
    project.write("pytest.ini", "[pytest]\npythonpath = .\nzephyr_hunt_setup = nowhere.sql\n")
    run = project.pytest("--zephyr-hunt", "-k", "test_book", "--zephyr-hunt-strict")
    run.stdout.fnmatch_lines(["no hunt: zephyr_hunt_setup: cannot read nowhere.sql: *"])
    assert run.ret == 1
    project.write("tests/test_shop.py", "def test_nothing(conn):\n    conn.execute('select 1')\n")
    run = project.pytest("--zephyr-hunt")
    run.stdout.fnmatch_lines(["no hunt: nothing was recorded: *"])


API = """
import os
import psycopg
from fastapi import Depends, FastAPI
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

class Base(DeclarativeBase): ...

class Slot(Base):
    __tablename__ = "slots"
    id: Mapped[int] = mapped_column(primary_key=True)
    free: Mapped[int]

connect = lambda: psycopg.connect(os.environ["ZEPHYR_LAB_PG_DSN"])
engine = create_engine("postgresql+psycopg://", creator=connect)
app = FastAPI()

def get_session():
    with Session(engine) as session, session.begin():
        yield session

@app.post("/book")
def book(session: Session = Depends(get_session)):
    session.get(Slot, 1).free -= 1

@app.post("/lock")
def lock(session: Session = Depends(get_session)):
    session.get(Slot, 1, with_for_update=True).free -= 1

def restock(session):
    session.get(Slot, 1).free += 10
    session.commit()
"""
ON_API = """
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session
import api

@pytest.fixture(scope="session", autouse=True)
def tables():
    api.Base.metadata.create_all(api.engine)
    yield
    api.Base.metadata.drop_all(api.engine)

@pytest.fixture
def committed():
    with Session(api.engine) as session, session.begin():
        session.add(api.Slot(id=1, free=5))
    yield
    with Session(api.engine) as session, session.begin():
        session.query(api.Slot).delete()

@pytest.fixture
def session():
    with api.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.add(api.Slot(id=1, free=5))
            session.commit()
            yield session
        outer.rollback()

def test_requests(committed):
    client = TestClient(api.app)
    assert client.post("/book").status_code == 200
    assert client.post("/lock").status_code == 200

def test_in_the_suite_s_transaction(session):
    api.restock(session)
    assert session.get(api.Slot, 1).free == 15

def test_not_committed(session):
    api.app.dependency_overrides[api.get_session] = lambda: session
    TestClient(api.app).post("/book")
    api.app.dependency_overrides.clear()
"""


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_sqlalchemy_and_fastapi(project: Project) -> None:
    """A request is one operation, what its dependencies commit included; what a suite rolls back is a transaction of
    the application's if it would be one; what a session has held back is not known, and nothing with it is safe."""
    project.write("api.py", API)
    (project.path / "tests").mkdir()
    project.write("tests/test_api.py", ON_API)
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")
    run = project.pytest("--zephyr-hunt", "--zephyr-hunt-format=json", "--zephyr-hunt-output=races.json")
    run.assert_outcomes(passed=3)
    kinds = counts_of(project.path / "races.json")
    of_one = {names[0]: kind for names, kind in kinds.items() if names[0] == names[1]}
    assert of_one == {"book": "races", "lock": "safe", "restock": "races", "book~2": "undecided"}
    run.stdout.fnmatch_lines(["book~2 with book~2: undecided: book~2: a session may hold changes back *"])


VIEWS = """
from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from shop.models import Order, Slot

def book(request):
    slot = Slot.objects.get(slot="18:00")
    slot.booked += 1
    slot.save()
    return JsonResponse({})

def lock(request):
    with transaction.atomic():
        slot = Slot.objects.select_for_update().get(slot="18:00")
        Order.objects.create(slot=slot)
        slot.booked += 1
        slot.save()
    return JsonResponse({})

urlpatterns = [path("book", book), path("lock", lock)]
"""
ON_VIEWS = """
from django.test import TestCase
from shop.models import Slot

class Requests(TestCase):
    @classmethod
    def setUpTestData(cls):
        Slot.objects.create(slot="18:00")

    def test_book(self):
        self.client.get("/book")
        self.assertEqual(Slot.objects.get().booked, 1)

    def test_lock(self):
        self.client.get("/lock")
"""


@pytest.mark.thorough
@pytest.mark.parametrize("atomic", [False, True])
def test_django(project: Project, dsn: str, atomic: bool) -> None:
    """In a test case that is rolled back, statements are transactions of their own unless the application says so."""
    pytest.importorskip("pytest_django")
    parts = conninfo_to_dict(dsn)
    (project.path / "shop" / "migrations").mkdir(parents=True)
    (project.path / "tests").mkdir()
    settings = SETTINGS.format(host=parts["host"], password=parts["password"])
    project.write("settings.py", f'{settings}\nDATABASES["default"]["ATOMIC_REQUESTS"] = {atomic}\n')
    project.write("shop/__init__.py", "")
    project.write("shop/models.py", MODELS)
    project.write("shop/urls.py", VIEWS)
    project.write("tests/test_views.py", ON_VIEWS)
    project.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n")
    run = project.pytest(
        "-p", "pytest_django.plugin", "--nomigrations", "--zephyr-hunt",
        "--zephyr-hunt-format=json", "--zephyr-hunt-output=races.json",
    )  # fmt: skip
    run.assert_outcomes(passed=2)
    kinds = counts_of(project.path / "races.json")
    run.stdout.fnmatch_lines([f"*book *shop/urls.py:8 *{'begin; ' if atomic else ''}SELECT*"])
    assert kinds == {("book", "book"): "races", ("book", "lock"): "races", ("lock", "lock"): "safe"}
