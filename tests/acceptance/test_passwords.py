"""No command shows a password, whatever is wrong with the DSN or the URL that holds it."""

from __future__ import annotations

import traceback

import pytest
from typer.testing import CliRunner

from zephyr_lab import Lab
from zephyr_lab.cli import app
from zephyr_lab.errors import LabError

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:Top%Secret9@127.0.0.1:1/d",
        "postgresql://u:Secret9@x/y@127.0.0.1:1/d",
        "postgresql://u:Top/Secret9@127.0.0.1:1/d",
        "postgresql://u:Secret9:@127.0.0.1:x/d",
        "host=h password='Secret9",
        "host=127.0.0.1 port=1 password=Secret9",
        "host=127.0.0.1 port=1 password=Secret9 nosuch=1",
        "host=127.0.0.1 port=1 sslmode=bogus password=Secret9 sslpassword=Secret9",
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "lost-update"], ["explore", "lost-update"], ["matrix", "lost-update"], ["doctor"], ["runbook", "--all"],
        ["serve", "--port", "0"], ["serve", "--install", "--port", "0"], ["reconcile"], ["partitions", "ensure"],
        ["incident"], ["record", "nowhere.jsonl"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_password_is_shown_whatever_the_dsn(words: list[str], dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a message nor in a trace: a DSN that cannot be used is told in a line."""
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", dsn)
    monkeypatch.delenv("ZEPHYR_LAB_REDIS_URL", raising=False)
    done = CliRunner().invoke(app, words)
    trace = "".join(traceback.format_exception(done.exception)) if done.exception else ""
    assert done.exit_code != 0
    assert "Secret9" not in done.output + trace
    assert isinstance(done.exception, LabError | SystemExit), trace


@pytest.mark.parametrize(
    "url", ["redis://:Secret9/x@127.0.0.1:1", "redis://:Secret9@h:x", "http://:Secret9@127.0.0.1:1"]
)
@pytest.mark.parametrize("words", [["serve", "--port", "0"], ["reconcile"]], ids=" ".join)
def test_no_password_of_redis_is_shown(words: list[str], url: str, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    """Of a URL that cannot be read."""
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", lab.conninfo())
    done = CliRunner().invoke(app, [*words, "--redis-url", url])
    assert isinstance(done.exception, LabError)
    assert "Secret9" not in "".join(traceback.format_exception(done.exception)) + done.output
