"""What other checkers write, and a service's own log: the same history in each form gets the same verdict."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.errors import BadInput

Sessions = list[list[tuple[bool, list[tuple[str, int, int | None]]]]]
SKEW: Sessions = [
    [(True, [("r", 1, None), ("w", 2, 11)])],
    [(True, [("r", 2, None), ("w", 1, 12)]), (False, [("w", 1, 13)])],
    [(True, [("r", 1, 12), ("r", 2, 11)])],
]
"""Write skew: of each session its transactions, whether they committed, and what they did."""


def as_json(sessions: Sessions, form: str) -> str:
    def event(kind: str, key: int, value: int | None) -> Any:
        if form == "compact":
            return [kind, key, value]
        if form == "old":
            return {"write": kind == "w", "variable": key, "value": value or 0, "success": True}
        return {"Read" if kind == "r" else "Write": {"variable": key, "version": value}}

    data = [
        [{"events": [event(*op) for op in ops], ("success" if form == "old" else "committed"): ok} for ok, ops in one]
        for one in sessions
    ]
    return json.dumps(data if form == "compact" else {"params": {"id": 0}, "data": data}, indent=form == "old" or None)


def as_bincode(sessions: Sessions) -> bytes:
    texts = b"".join(struct.pack("<Q", len(text)) + text for text in (b"made here", b"", b""))
    held = struct.pack("<5q", 0, 3, 2, 4, 7) + texts + struct.pack("<Q", len(sessions))
    for one in sessions:
        held += struct.pack("<Q", len(one))
        for ok, ops in one:
            held += struct.pack("<Q", len(ops) + 1)
            held += b"".join(struct.pack("<?qq?", kind == "w", key, value or 0, True) for kind, key, value in ops)
            held += struct.pack("<?qq?", False, 1, 99, False) + struct.pack("<?", ok)
    return held


def as_cobra(sessions: Sessions, folder: Path) -> Path:
    folder.mkdir()
    for number, one in enumerate(sessions):
        held = b""
        for txn, (ok, ops) in enumerate(one):
            held += struct.pack(">cq", b"S", 100 * number + txn)
            for kind, key, value in ops:
                if kind == "w":
                    held += struct.pack(">c3q", b"W", value, key, 7)
                else:
                    held += struct.pack(">c4q", b"R", 1 if value else 0xBEBEEBEE, value or 0xBEBEEBEE, key, 7)
            held += struct.pack(">cq", b"C", 100 * number + txn) if ok else b""
        (folder / f"T{number}.log").write_bytes(held)
    return folder


def judged(path: Path, **reading: Any) -> tuple[list[str], int]:
    history = check.read(path, **reading)
    return check.check(history, "serializable").names, len(history)


def test_dbcop_and_cobra_are_read(tmp_path: Path) -> None:
    """Both of dbcop's JSON, its older one, its bincode, and Cobra's folder, whose open transaction is indeterminate."""
    for form in ("tagged", "compact", "old"):
        path = tmp_path / f"{form}.json"
        path.write_text(as_json(SKEW, form))
        assert judged(path) == (["G2-item"], 4), form
    path = tmp_path / "history.bincode"
    path.write_bytes(as_bincode(SKEW))
    assert judged(path) == (["G2-item"], 4)
    assert judged(as_cobra(SKEW, tmp_path / "cobra")) == (["G2-item"], 4)


def test_what_is_cut_off_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    """At every byte of the binary forms; a length that would fill the memory."""
    whole = as_bincode(SKEW)
    path = tmp_path / "cut.bincode"
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(BadInput):
            check.read(path)
    path.write_bytes(struct.pack("<5qQ", 0, 0, 0, 0, 0, 2**60))
    with pytest.raises(BadInput, match="a length of"):
        check.read(path)
    folder = as_cobra(SKEW, tmp_path / "cobra")
    log = folder / "T0.log"
    log.write_bytes(log.read_bytes()[:-3])
    with pytest.raises(BadInput, match=r"T0\.log: ends in the middle"):
        check.read(folder)
    log.write_bytes(b"Q")
    with pytest.raises(BadInput, match="no record of Cobra's"):
        check.read(folder)
    (tmp_path / "odd.json").write_text('{"data": [[{"events": [{"Delete": {}}]}]]}')
    with pytest.raises(BadInput, match="no event of dbcop's"):
        check.read(tmp_path / "odd.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"without \*\.log"):
        check.read(tmp_path / "empty")


MAPPING = """
transaction = "tx"
session = "conn"
kind = "what"
key = ["tbl", "id"]
{value}
begin = "from"
ignore = ["ping"]
[words]
w = ["set"]
"""
LOG = """tx,conn,what,tbl,id,val,from
7,a,select,slots,1,,2026-01-01T10:00:00
8,b,select,slots,2,,2026-01-01T10:00:01
7,a,set,slots,2,11,
8,b,set,slots,1,12,
9,c,ping,,,,
7,a,commit,,,,
8,b,commit,,,,
9,c,select,slots,1,12,2026-01-01T10:00:03
9,c,commit,,,,
10,c,set,slots,1,14,2026-01-01T10:00:04
"""


def test_a_log_is_read_by_its_mapping(tmp_path: Path) -> None:
    """CSV; the same as JSON lines with paths; a transaction without an end is indeterminate."""
    log, mapping = tmp_path / "log.csv", tmp_path / "log.toml"
    log.write_text(LOG)
    mapping.write_text(MAPPING.format(value='value = "val"'))
    history = check.read(log, mapped=mapping)
    assert [one.status.name for one in history.transactions()] == ["OK", "OK", "OK", "INFO"]
    assert history.transaction(0).ops == [["r", "slots/1", None], ["w", "slots/2", 11]]
    assert history.begin[1] - history.begin[0] == 1_000_000
    assert judged(log, mapped=mapping) == (["G2-item"], 4)
    head, *rows = (line.split(",") for line in LOG.splitlines())
    told = [{**dict(zip(head, row, strict=True)), "span": {"conn": row[1]}} for row in rows]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    mapping.write_text(MAPPING.format(value='value = "val"').replace('"conn"', '"span.conn"'))
    assert judged(tmp_path / "log.jsonl", mapped=mapping) == (["G2-item"], 4)


def test_the_parts_of_a_key_are_told_apart_and_a_packed_log_is_unpacked(tmp_path: Path) -> None:
    """A slash in one of them is no other key's."""
    log, mapping = tmp_path / "log.csv.gz", tmp_path / "log.toml"
    mapping.write_text('transaction="tx"\nsession="tx"\nkind="op"\nkey=["t", "k"]\nvalue="v"\n')
    log.write_bytes(gzip.compress(b"tx,op,t,k,v\n1,w,a/b,c,1\n2,w,a,b/c,1\n3,r,a/b,c,1\n3,r,a,b/c,\n"))
    history = check.read(log, mapped=mapping)
    assert len(history.keys) == 2
    assert check.check(history, "serializable").valid is True
    log.write_bytes(log.read_bytes()[:-9])
    with pytest.raises(BadInput, match="cannot be unpacked"):
        check.read(log, mapped=mapping)


def test_times_are_compared_as_numbers_and_a_transactions_first_and_last_count(tmp_path: Path) -> None:
    """Whole ones among fractions, and a time on every row."""
    log, mapping = tmp_path / "log.csv", tmp_path / "log.toml"
    mapping.write_text('transaction="tx"\nsession="tx"\nkind="op"\nkey="k"\nvalue="v"\nbegin="at"\nend="at"\n')
    log.write_text("tx,op,k,v,at\n1,w,x,1,1\n1,w,y,1,1.5\n2,r,x,1,3\n2,r,y,1,2\n")
    history = check.read(log, mapped=mapping)
    assert history.begin.tolist() == [1_000_000, 2_000_000]
    assert history.end.tolist() == [1_500_000, 3_000_000]
    log.write_text("tx,op,k,v,at\n1,w,x,1,0\n1,w,y,1,12\n2,r,x,1,9007199254740993\n")
    assert check.read(log, mapped=mapping).begin.tolist() == [0, 9007199254740993]


def test_given_versions_tell_what_was_read_where_values_repeat(tmp_path: Path) -> None:
    """The same value, written twice: by its version a read is of the first, so that the second was lost."""
    log, mapping = tmp_path / "log.csv", tmp_path / "log.toml"
    mapping.write_text('transaction="tx"\nsession="tx"\nkind="op"\nkey="k"\nversion="xmin"\n')
    log.write_text(
        "tx,op,k,val,xmin\n1,w,x,5,101\n1,w,x,6,101\n2,r,x,6,101\n3,r,x,6,101\n2,w,x,6,102\n3,w,x,6,103\n4,r,x,6,103\n"
    )
    report = check.check(check.read(log, mapped=mapping), "serializable")
    assert report.valid is False
    assert "lost-update" in report.names
    mapping.write_text(mapping.read_text().replace("version", "value").replace('"xmin"', '"val"'))
    with pytest.raises(BadInput, match="every write of a key needs a value of its own"):
        check.read(log, mapped=mapping)


@pytest.mark.parametrize(
    ("mapping", "log", "said"),
    [
        ("transaction = 1", LOG, "says nothing of session, kind, key, value or version"),
        (MAPPING.format(value='value = "val"\nsesion = "x"'), LOG, "unknown sesion"),
        (MAPPING.format(value='value = "vall"'), LOG, "line 2: has no 'vall'; it has tx, conn"),
        (MAPPING.format(value='value = "val"'), LOG.replace("ping", "pong"), "line 6: 'pong' is no kind of operation"),
        (MAPPING.format(value='value = "val"'), LOG.replace("8,b,commit", "8,c,commit"), "line 8: the transaction is"),
        (
            MAPPING.format(value='value = "val"'),
            LOG.replace("01T10:00:01", "noon"),
            "line 3: '2026-01-noon' is no time",
        ),
        (MAPPING.format(value='value = "val"'), LOG + "1,2\n", "line 12: has another number of columns"),
        (
            MAPPING.format(value='value = "val"'),
            LOG.replace("2026-01-01T10:00:03", "3"),
            "log.csv: some times are numbers",
        ),
        (MAPPING.format(value='value = "val"'), LOG.replace(":03", ":03Z"), "log.csv: some times are .* with a zone"),
        (MAPPING.format(value='value = "val"'), LOG.replace("11,", "11,9"), "line 4: some times are numbers"),
        (MAPPING.format(value='value = "val"'), LOG + "8,b,select,slots,1,,\n", "line 12: the transaction has ended"),
        (MAPPING.format(value='value = "val"'), LOG + "8,b,rollback,,,,\n", "line 12: .* ends as fail, and .* as ok"),
        ("transaction = ", LOG, "not TOML"),
    ],
)
def test_what_a_mapping_or_a_log_lacks_is_said(tmp_path: Path, mapping: str, log: str, said: str) -> None:
    """With its line."""
    (tmp_path / "log.csv").write_text(log)
    (tmp_path / "log.toml").write_text(mapping)
    with pytest.raises(BadInput, match=said):
        check.read(tmp_path / "log.csv", mapped=tmp_path / "log.toml")
