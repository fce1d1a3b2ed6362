"""Histories in their three forms, and what is said of those that are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zephyr_lab import check
from zephyr_lab.check import edn
from zephyr_lab.errors import BadInput

LINES = [
    {"session": 0, "type": "ok", "ops": [["append", "x", 1], ["r", "y", []]], "t0": 0, "t1": 3},
    {"session": 1, "type": "fail", "ops": [["append", "x", 2]], "t0": 1, "t1": 4},
    {"session": 2, "type": "info", "ops": [["append", "y", 1], ["r", "x", None]], "t0": 2, "t1": None},
    {"session": 0, "type": "ok", "ops": [["r", "x", [1]], ["r", "y", [1]]], "t0": 5, "t1": 6},
]
EDN = """; as Jepsen writes it
{:process 0, :type :invoke, :f :txn, :value [[:append :x 1] [:r :y nil]], :time 10, :index 0}
{:process 1, :type :invoke, :f :txn, :value [[:append :x 2]], :time 11, :index 1}
{:process 2, :type :invoke, :f :txn, :value [[:append :y 1] [:r :x nil]], :time 12}
{:process :nemesis, :type :info, :f :kill, :value {:n1 "killed"}}
#jepsen.history.Op{:process 0, :type :ok, :f :txn, :value [[:append :x 1] [:r :y []]], :time 13}
{:process 1, :type :fail, :f :txn, :value [[:append :x 2]] #_ :dropped}
{:process 2, :type :info, :f :txn, :value [[:append :y 1] [:r :x nil]], :error [:timeout "a \\"quote\\""]}
{:process 0, :type :invoke, :f :txn, :value [[:r :x nil] [:r :y nil]]}
{:process 0, :type :ok, :f :txn, :value [[:r :x [1]] [:r :y [1]]]}
"""


def written(tmp_path: Path, text: str | bytes, name: str = "history") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(tmp_path: Path, text: str | bytes, workload: str | None = None) -> str:
    with pytest.raises(BadInput) as raised:
        check.check(check.read(written(tmp_path, text), workload))
    return str(raised.value)


def as_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_true_is_not_1(tmp_path: Path) -> None:
    """Nor is 1.0 or "1": nobody wrote these."""
    for value in (True, 1.0, "1"):
        for write, read in (["append", "x", 1], ["r", "x", [value]]), (["w", "x", 1], ["r", "x", value]):
            rows = [{"session": i, "type": "ok", "ops": [op]} for i, op in enumerate((write, read))]
            history = check.read(written(tmp_path, as_lines(rows)))
            assert "thin-air-read" in check.check(history, assumptions=check.Assumptions(fragment=False)).names
            assert check.read(written(tmp_path, history.to_lines())).to_lines() == history.to_lines()


def test_a_process_may_have_a_name(tmp_path: Path) -> None:
    """That of the nemesis is another matter; and what is no transaction is not passed over beside some."""
    lines = EDN.replace(":process 1,", ':process "client",')
    assert {one.session for one in check.read(written(tmp_path, lines)).transactions()} == {0, "client", 2}
    said = refused(tmp_path, EDN.replace(":process 1,", ":process nil,"))
    assert "line 3: process None; it is a number or a name" in said
    said = refused(tmp_path, EDN + "{:process 5 :type :ok :f :read :value [1]}")
    assert "operations called read beside transactions: they would be passed over" in said


def test_json_lines_are_read_and_written_back(tmp_path: Path) -> None:
    """What was read is written as it was, packed or not."""
    history = check.read(written(tmp_path, as_lines(LINES)))
    assert [json.loads(line) for line in history.to_lines().splitlines()] == LINES
    assert (len(history), history.operations, str(history.workload)) == (4, 7, "list-append")
    packed = check.read(written(tmp_path, gzip.compress(as_lines(LINES).encode()), "h.jsonl.gz"))
    assert packed.to_lines() == history.to_lines()


def test_jepsens_events_are_paired(tmp_path: Path) -> None:
    """Positions of invocation and completion are the times; what the nemesis does is left out."""
    history = check.read(written(tmp_path, EDN))
    assert [(one.session, one.status.name, one.begin, one.end) for one in history.transactions()] == [
        (0, "OK", 0, 4),
        (1, "FAIL", 1, 5),
        (2, "INFO", 2, None),
        (0, "OK", 7, 8),
    ]
    assert [list(one.ops) for one in history.transactions()] == [row["ops"] for row in LINES]


def test_events_in_one_vector_or_as_json_are_the_same(tmp_path: Path) -> None:
    """An EDN vector of maps, and JSON objects with process and value."""
    lines = check.read(written(tmp_path, EDN))
    vector = check.read(written(tmp_path, f"[{EDN}]"))
    events = [
        {"process": 0, "type": "invoke", "f": "txn", "value": [["append", "x", 1]]},
        {"process": 0, "type": "ok", "f": "txn", "value": [["append", "x", 1]]},
    ]
    array = check.read(written(tmp_path, json.dumps(events)))
    assert vector.to_lines() == lines.to_lines()
    assert array.to_lines() == check.read(written(tmp_path, as_lines(events))).to_lines()
    assert (array.transaction(0).begin, array.transaction(0).end) == (0, 1)


def test_the_text_form_is_read(tmp_path: Path) -> None:
    """Operations of one (session, transaction) belong together; 0 is what was there first."""
    history = check.read(written(tmp_path, "w(1,7,0,0)\nr(2,0,0,0)\nr(1,7,1,5)\n\nw(2,8,1,5)\n"))
    assert [list(one.ops) for one in history.transactions()] == [
        [["w", 1, 7], ["r", 2, None]],
        [["r", 1, 7], ["w", 2, 8]],
    ]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Of UTF-8; another one is refused by its name."""
    for name, text in (("a", as_lines(LINES)), ("b", EDN)):
        plain = check.read(written(tmp_path, text, name)).to_lines()
        assert check.read(written(tmp_path, b"\xef\xbb\xbf" + text.encode(), f"marked {name}")).to_lines() == plain
    assert "is UTF-16" in refused(tmp_path, as_lines(LINES).encode("utf-16"))


def test_what_is_no_text_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A stream of zeros has neither a line nor an end; a file may turn into zeros later."""
    with pytest.raises(BadInput, match="a byte that is 0"):
        check.read("/dev/zero")
    lines = as_lines(LINES).encode() * 5_000
    assert "line 20001: has a byte that is 0" in refused(tmp_path, lines + bytes(8 << 20))


@pytest.mark.parametrize("least", [-(2**63), -(2**62)])
def test_the_least_numbers_are_values_as_others(tmp_path: Path, least: int) -> None:
    """The mark of a read of nothing is no value."""
    rows = [
        {"session": 0, "type": "ok", "ops": [["append", "x", least], ["append", "y", 1]]},
        {"session": 1, "type": "ok", "ops": [["r", "x", [least]], ["r", "y", [1]]]},
    ]
    assert check.check(check.read(written(tmp_path, as_lines(rows))), "serializable").valid
    rows[1]["ops"] = [["r", "x", [least]], ["r", "y", []]]
    assert check.check(check.read(written(tmp_path, as_lines(rows))), "serializable").valid is False


def test_values_that_are_names_are_compared_as_names(tmp_path: Path) -> None:
    """Strings, and 1.5 is not 1; keys may be lists, as Elle's tests have them."""
    rows = [
        {"session": 0, "type": "ok", "ops": [["append", ["k", 1], "a"], ["append", ["k", 1], 1.5]]},
        {"session": 1, "type": "ok", "ops": [["r", ["k", 1], ["a", 1.5]]]},
    ]
    assert check.check(check.read(written(tmp_path, as_lines(rows))), "serializable").valid
    rows[1]["ops"] = [["r", ["k", 1], ["a", 1]]]
    report = check.check(check.read(written(tmp_path, as_lines(rows))), "read-uncommitted")
    assert report.forbidden == ["thin-air-read"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1].pop("ops"), "line 2: a transaction without ops"),
        (lambda rows: rows[1].update(type="maybe"), "line 2: type 'maybe' of a transaction"),
        (lambda rows: rows[2].update(t0=-4), "line 3: t0 is -4"),
        (lambda rows: rows[2].update(t0=1.5), "line 3: t0 is 1.5"),
        (lambda rows: rows[3]["ops"].append(["swap", "x", 1]), "line 4: unknown operation 'swap'"),
        (lambda rows: rows[3]["ops"].append(["w", "x", 1]), "line 4: operation 'w' in a history of list-append"),
        (lambda rows: rows[3]["ops"].append(["append", "x"]), "line 4: operation"),
        (lambda rows: rows[3]["ops"].append("r x"), "line 4: 'r x' is no operation"),
        (lambda rows: rows[3]["ops"].append(["r", "x", 1]), "line 4: a read of a list gave 1"),
        (lambda rows: rows[3]["ops"].append(["append", "x", None]), "line 4: "),
        (lambda rows: rows[3]["ops"].append(["append", "x", {"a": 1}]), "line 4: {'a': 1} as a value"),
        (lambda rows: rows[3]["ops"].append(["append", "x", 1]), "line 4: writes 1 to 'x', which line 1 has written"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, change, said: str) -> None:
    """A missing part, a wrong type, an unknown operation, a value written twice or never."""
    rows = json.loads(json.dumps(LINES))
    change(rows)
    assert said in refused(tmp_path, as_lines(rows))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (as_lines(LINES)[:-20], "line 4: not JSON"),
        (as_lines(LINES) + "[1, 2]\n", "line 5: [1, 2] is not an object"),
        ("hello\n", "begins no history: neither JSON, EDN"),
        ("w(1,2,3)\n", "line 1"),
        ("w(1,2,3,4)\nx\n", "line 2: b'x\\n' is not r(key,value,session,transaction)"),
        (EDN[:-30], "is not closed before the end: truncated?"),
        (EDN + "{:a 1 :b}", "line 11: a map with a key without a value"),
        (EDN + "]", "line 11: ']' closes nothing"),
        ("[" * 100_000, "brackets nested more than 64 deep"),
        ('{:a "', "line 1: a string that does not end"),
        ("{[1] 2}", "line 1: "),
        (b"{:process 0 \xff}", "not UTF-8"),
        (EDN + EDN.splitlines()[1] + "\n" + EDN.splitlines()[1], "process 0 invokes again"),
    ],
)
def test_a_text_that_is_cut_or_hostile_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    """With the line, and without running out of stack."""
    assert said in refused(tmp_path, text)


def test_a_history_of_nothing_says_nothing(tmp_path: Path) -> None:
    """An empty file is no error, and no proof."""
    report = check.check(check.read(written(tmp_path, "")))
    assert report.valid is None
    assert "says nothing" in report.why


def test_a_small_history_is_written_as_a_report_prints_it() -> None:
    """A transaction a line: its session, how it ended, its operations."""
    history = check.parse("""
        A: append x 1, r y []
        B (fail): append x 2
        A: r x [1], r y
    """)
    assert [(one.session, one.status.name, one.text()) for one in history.transactions()] == [
        ("A", "OK", "append x 1, r y []"),
        ("B", "FAIL", "append x 2"),
        ("A", "OK", "r x [1], r y null"),
    ]
    assert str(check.parse("A: w x 1\nB: r x 1").workload) == "rw-register"
    for wrong in ("append x 1", "A: append", "A: r x [one]"):
        with pytest.raises(BadInput, match="line 1"):
            check.parse(wrong)


def test_an_unknown_level_or_workload_is_refused(tmp_path: Path) -> None:
    """The known ones are listed."""
    path = written(tmp_path, as_lines(LINES))
    with pytest.raises(BadInput, match=r"known are.*snapshot-isolation"):
        check.check(check.read(path), "very safe")
    with pytest.raises(BadInput, match="known are list-append"):
        check.read(path, "queue")


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (["append", "x", [1]], "a value is an integer"),
        (["insert", "x", None], "writes None"),
        (["r", "x", [[1]]], "a read gave"),
        (["r", "x", {"y": 1}], "a read gave"),
    ],
)
def test_a_value_beside_a_predicate_is_a_value(tmp_path: Path, op: list, message: str) -> None:
    """What could not be compared is refused with its line."""
    rows = [{"session": 0, "type": "ok", "ops": [["rp", "true", {}], op]}]
    with pytest.raises(BadInput, match=f"line 1: .*({message})"):
        check.read(written(tmp_path, as_lines(rows)))


@pytest.mark.parametrize("op", [["w", "y", 1], ["insert", "y", 1], ["delete", "x"], ["r", "y", 1]])
def test_lists_and_registers_are_not_mixed_beside_a_predicate(tmp_path: Path, op: list) -> None:
    """The writes of one of the two would not be seen."""
    rows = [{"session": 0, "type": "ok", "ops": [["rp", "true", {}], ["append", "x", 1], op]}]
    with pytest.raises(BadInput, match="in a history of lists"):
        check.read(written(tmp_path, as_lines(rows)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OPS = st.lists(
    st.tuples(
        st.sampled_from(["r", "w", "append", "rp", "insert", "delete", "x", 3]),
        st.sampled_from(["x", "y", 1, None]),
        JSON,
    ).map(list)
    | JSON,
    max_size=3,
)
ROW = st.fixed_dictionaries(
    {"session": JSON, "type": st.sampled_from(["ok", "fail", "info"]) | JSON, "ops": OPS | JSON},
    optional={"t0": JSON, "t1": JSON},
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW | JSON, max_size=4))
@example([{"session": 0, "type": "ok", "ops": [["r", "x", None], ["rp", "x", None], ["r", "x", {}]]}])
@example([{"session": 0, "type": "ok", "ops": [["rp", "true", None], ["append", "x", []]]}])
@example([{"session": 0, "type": "ok", "ops": [["rp", "true", None], ["append", "x", 1], ["r", "x", [[]]]]}])
def test_any_json_is_a_history_or_is_refused(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """Nothing but BadInput is raised, whatever the lines say."""
    path = tmp_path_factory.mktemp("fuzz") / "history"
    path.write_text(as_lines(rows))
    try:
        str(check.check(check.read(path), "strict-serializable"))
    except BadInput:
        return


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text(alphabet='()[]{}#:"\\_; \n1ax', max_size=40).map(str.encode))
def test_any_bytes_are_a_history_or_are_refused(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    """Nothing but BadInput is raised, whatever the bytes are."""
    path = tmp_path_factory.mktemp("fuzz") / "history"
    path.write_bytes(text)
    try:
        check.check(check.read(path))
    except BadInput:
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4), max_leaves=10
    )
)
def test_edn_reads_what_was_written_as_edn(value: object) -> None:
    """nil, booleans, numbers, strings and vectors of these."""

    def write(one: object) -> str:
        if isinstance(one, list):
            return "[" + " ".join(map(write, one)) + "]"
        if isinstance(one, str):
            return '"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return {None: "nil", True: "true", False: "false"}[one] if one is None or isinstance(one, bool) else str(one)

    assert [form for _, form in edn.forms(write(value), "x")] == [value]


@pytest.mark.parametrize("names", [(1, 2), ("one", "two")])
def test_an_empty_list_is_one_whatever_the_values_are(names: tuple[int | str, int | str]) -> None:
    one, other = names
    rows = [
        {"session": 0, "type": "ok", "ops": [["r", "y", []], ["append", "x", one]]},
        {"session": 1, "type": "ok", "ops": [["r", "x", []], ["append", "y", other]]},
    ]
    assert check.check(check.from_transactions(rows), "serializable").names == ["G2-item"]
