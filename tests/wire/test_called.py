"""Calls of a service by other means than HTTP, such as gRPC's stubs: each is a session, its end the outcome."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.wire.programs import SETUP
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ServerLost
from zephyr_lab.wire.service import Service


@pytest.fixture
def shop(lab: Lab) -> Iterator[Service]:
    """A service of gRPC's, on psycopg2."""
    with lab.service([sys.executable, Path(__file__).with_name("rpc.py")], redis=False) as service:
        yield service


@pytest.fixture
def ask(shop: Service) -> Iterator[Callable[[str], str]]:
    """A stub of it: the method's name, and what is answered."""
    with grpc.insecure_channel(shop.address) as channel:
        yield lambda name: channel.unary_unary(f"/Shop/{name}")(b"", timeout=10).decode()


def test_a_lost_update_is_found_by_a_stub_of_grpc(lab: Lab, shop: Service, ask: Callable[[str], str]) -> None:
    """What is returned is compared, and what is raised by its class of the caller's."""
    found = lab.explore([shop.call(lambda: ask("book")), shop.call(partial(ask, "book"))], setup=SETUP)
    assert (found.schedules, found.anomalous) == (14, 12)
    assert "A returned '5000'" in str(found)


def test_a_status_is_an_outcome_and_may_be_a_refusal(lab: Lab, shop: Service, ask: Callable[[str], str]) -> None:
    """An error of gRPC's is told by its code and details; whom the server refused was seen at the wire."""
    found = lab.explore([shop.call(lambda: ask("refuse"))], setup=SETUP, may_raise=True)
    assert "A raised RpcError(FAILED_PRECONDITION, 'the slot is full')" in str(found)
    book = shop.call(lambda: ask("book"))
    refused = lab.explore([book, book], setup=SETUP, isolation="repeatable read")
    assert (refused.schedules, refused.anomalous, refused.aborted) == (14, 0, 12)


def test_a_service_that_ends_in_a_call_is_reported(lab: Lab, shop: Service, ask: Callable[[str], str]) -> None:
    with pytest.raises(ServerLost, match="has ended, with exit code 3"):
        lab.explore([shop.call(lambda: ask("crash"))], setup=SETUP, may_raise=True)


def test_what_is_no_call_is_refused(shop: Service) -> None:
    """Before anything is explored."""
    wrong: dict[str, Any] = {
        "is a function, as in lambda": "book", "called without arguments": lambda order: order,
        "is asynchronous: let a function run it": asyncio.sleep,
    }  # fmt: skip
    for said, one in wrong.items():
        with pytest.raises(BadInput, match=said):
            shop.call(one)
    assert shop.call(os.getpid).ask() == os.getpid()
