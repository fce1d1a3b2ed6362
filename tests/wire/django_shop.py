"""A Django project in one file, explored in process: a view of Django's own, and one of the REST framework's.

Run as a program: settings hold for a whole process. Prints a JSON object: counts by what was explored.
"""

from __future__ import annotations

import json
import sys
from typing import Any

if sys.argv[1] == "psycopg2":  # Django takes psycopg 3 where there are both
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    import django.db.backends.postgresql.base

    del sys.modules["psycopg"]

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, models, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": int(sys.argv[2])}},
    INSTALLED_APPS=["django.contrib.contenttypes", "rest_framework"], ALLOWED_HOSTS=["localhost"], SECRET_KEY="none",
    ROOT_URLCONF=__name__, TIME_ZONE="Europe/Berlin", LOGGING_CONFIG=None,
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
)  # fmt: skip
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from zephyr_lab import Lab, once  # noqa: E402
from zephyr_lab.errors import BadInput  # noqa: E402


class Slot(models.Model):
    booked = models.IntegerField()

    class Meta:
        app_label = "shop"


def add(slots: Any) -> dict[str, int]:
    with transaction.atomic():
        slot = slots.get(id=1)
        slot.booked += 5000
        slot.save()
    return {"booked": slot.booked}


def read_then_write(request: HttpRequest) -> JsonResponse:
    return JsonResponse(add(Slot.objects))


def locked(request: HttpRequest) -> JsonResponse:
    return JsonResponse(add(Slot.objects.select_for_update()))


def in_place(request: HttpRequest) -> JsonResponse:
    Slot.objects.filter(id=1).update(booked=models.F("booked") + 5000)
    return JsonResponse({})


@api_view(["GET", "POST"])
def api(request: Any) -> Response:
    return Response(add(Slot.objects), 201)


urlpatterns = [path("read", read_then_write), path("locked", locked), path("f", in_place), path("api", api)]


@once
def migrated(dsn: str) -> None:
    """Connects by the settings."""
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Slot)
    Slot.objects.create(id=1, booked=0)


def call() -> int:
    return int(APIClient().post("/api", {}, format="json", headers={"host": "localhost"}).status_code)


found: dict[str, Any] = {"driver": connection.Database.__name__}
with Lab() as lab:
    connections.databases["default"].update(lab.wire.django)
    with lab.app(get_wsgi_application() if sys.argv[3] == "wsgi" else get_asgi_application()) as shop:
        for place in ("/read", "/locked", "/f", "/api"):
            for level in ("read committed", "repeatable read"):
                run = lab.explore([shop.get(place)] * 2, setup=migrated, isolation=level, shrink=False)
                found[f"{place} {level}"] = [run.schedules, run.anomalous, run.aborted]
    run = lab.explore([lab.wire.call(call)] * 2, setup=migrated, shrink=False)
    found["client"] = [run.schedules, run.anomalous, run.aborted]
    settings.DEBUG = True
    try:
        lab.app(get_wsgi_application())
    except BadInput as error:
        found["debug"] = str(error)
print(json.dumps(found))
