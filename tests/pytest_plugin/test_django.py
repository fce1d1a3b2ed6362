"""A Django project with pytest-django: its models are explored, its migrations are the setup, its database is safe."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import ROOT
from zephyr_lab.servers.embedded import start_postgres

pytest_plugins = "pytester"
pytest.importorskip("pytest_django")

SETTINGS = """
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": {host!r},
    "PASSWORD": {password!r},
}}}}
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
SECRET_KEY = "not secret"
ROOT_URLCONF = "shop.urls"
USE_TZ = True
"""
MODELS = """
from django.db import models

class Slot(models.Model):
    slot = models.TextField(unique=True)
    booked = models.IntegerField(default=0)
    made = models.DateTimeField(auto_now_add=True)

class Order(models.Model):
    slot = models.ForeignKey(Slot, on_delete=models.CASCADE)
"""
URLS = """
from django.http import JsonResponse
from django.urls import path
from shop.models import Slot

def book(request):
    slot = Slot.objects.get(slot="18:00")
    slot.booked += 1
    slot.save()
    return JsonResponse({"booked": slot.booked})

urlpatterns = [path("book", book)]
"""
TESTS = """
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from shop.models import Order, Slot
from zephyr_lab import once

def migrated():
    call_command("migrate", verbosity=0)
    Slot.objects.create(slot="18:00")

def book():
    slot = Slot.objects.get(slot="18:00")
    slot.booked += 1
    slot.save()
    return slot.booked

def book_locked():
    with transaction.atomic():
        slot = Slot.objects.select_for_update().get(slot="18:00")
        Order.objects.create(slot=slot)
        slot.booked += 1
        slot.save()

def test_a_race(zephyr):
    found = zephyr.expect_anomaly([book, book], setup=migrated)
    assert (found.schedules, found.anomalous) == (6, 4)

def test_a_view(zephyr):
    found = zephyr.expect_anomaly([lambda: Client().get("/book").json()] * 2, setup=migrated)
    assert found.anomalous == 4

def test_locked(zephyr):
    zephyr.explore([book_locked, book_locked], setup=once(migrated))

def test_an_invariant(zephyr):
    zephyr.explore([book_locked], setup=migrated, invariant=lambda transcript: Slot.objects.count() == 1)

def test_everything_else_is_blocked_as_ever():
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        Slot.objects.count()
"""


@pytest.fixture
def production() -> Iterator[str]:
    server, dsn = start_postgres()
    yield dsn
    server.close()


@pytest.mark.thorough
def test_a_django_project_is_explored_as_documented(
    pytester: pytest.Pytester, production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the mark django_db, and without a byte in the database that its settings name."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("ZEPHYR_LAB_PG_DSN", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    parts = conninfo_to_dict(production)
    for name, text in {
        "settings.py": SETTINGS.format(host=parts["host"], password=parts["password"]),
        "shop/__init__.py": "",
        "shop/models.py": MODELS,
        "shop/urls.py": URLS,
        "shop/migrations/__init__.py": "",
        "test_shop.py": TESTS,
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n",
    }.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    made = pytester.run(
        sys.executable, "-m", "django", "makemigrations", "shop", "--settings=settings", "--pythonpath=."
    )
    assert made.ret == 0
    done = pytester.runpytest_subprocess("-p", "zephyr_lab.pytest_plugin", "-p", "pytest_django.plugin", "-W", "error")
    done.assert_outcomes(passed=5)
    with psycopg.connect(production) as connection:
        assert connection.execute(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)
