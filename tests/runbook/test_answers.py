"""What the runbook answers about a table: is it there, rights, indexes; on PostgreSQL 18 and 15."""

from __future__ import annotations

import subprocess
from typing import Any

import pandas as pd
import psycopg
import pytest
from psycopg import errors

from tests.runbook.conftest import DATABASE, DEBIAN, Connect, Connection, Server
from zephyr_lab.errors import BadInput, QuestionFailed, ServerLost
from zephyr_lab.runbook import Answer, Question, Runbook, question, questions
from zephyr_lab.servers.embedded import find_postgres
from zephyr_lab.shipped import shipped

ORDER = """
insert into orders (id, display_id, customer_id, items, total_price, final_price, created_at, updated_at)
values (gen_random_uuid(), '0001', 1, '[]', 500, 500, {moment}, now())"""


# -- safe on production


def test_a_question_reads_only_and_takes_no_lock_stronger_than_access_share(book: Runbook) -> None:
    """Looked at before its transaction ends; by then not even a partition whose size was asked for is locked."""
    only_reading = {("virtualxid", "ExclusiveLock"), ("relation", "AccessShareLock")}
    for one in questions():
        with book._read_only(one) as cursor:
            cursor.execute(one.placeholders.encode(), book._values(cursor, one))
            state = cursor.execute(
                "select current_setting('transaction_read_only'), current_setting('statement_timeout'), "
                "current_setting('lock_timeout'), pg_current_xact_id_if_assigned()"
            ).fetchone()
            locks = cursor.execute(
                "select locktype, mode, coalesce(relation >= 16384, false) from pg_locks where pid = pg_backend_pid()"
            ).fetchall()
        assert state == ("on", "10s", "2s", None), one.name
        assert {(kind, mode) for kind, mode, _ in locks} == only_reading, one.name
        assert not any(is_embedded for _, _, is_embedded in locks), one.name
        assert book.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_what_would_write_is_refused(book: Runbook, keeper: Connection) -> None:
    """By the server, in a transaction of the runbook's and in one that is open already, which goes on afterwards."""
    writes = Question("writes", "Does it write?", "", "delete from slot_plans")
    with pytest.raises(QuestionFailed, match="writes: 25006"):
        book.ask(writes)
    with keeper.transaction():
        keeper.execute("delete from slot_plans where weekday = 7")
        with pytest.raises(QuestionFailed, match="writes: 25006"):
            Runbook(keeper).ask(writes)
        assert len(Runbook(keeper).ask("partitions")) == 2
        keeper.execute("delete from slot_plans where weekday = 6")
        assert keeper.execute("show statement_timeout").fetchone() == ("0",)
    assert keeper.execute("select count(*) from slot_plans").fetchone() == (5,)


def test_a_question_that_would_hang_is_given_up(connect: Connect, keeper: Connection) -> None:
    """A slow one after the time for answers, one that waits for a lock after the time for locks."""
    book = Runbook(connect(), statement_seconds=0.2, lock_seconds=0.1)
    with pytest.raises(QuestionFailed, match=r"no answer within 0\.2 s"):
        book.ask(Question("slow", "How long?", "", "select pg_sleep(20)"))
    with keeper.transaction():
        keeper.execute("lock table orders")
        with pytest.raises(QuestionFailed, match=r"waited 0.1 s for a lock; `locks` waits for none"):
            book.ask(Question("rows", "How many?", "", "select count(*) from orders"))


def test_a_partition_locked_exclusively_hangs_no_question(connect: Connect, book: Runbook, keeper: Connection) -> None:
    """Neither held nor merely waited for; its size is left out, and the culprit is named."""
    month = book.ask("missing-partitions")["partitions"][0]
    for locking in (f"lock table {month}", f"reindex table {month}", "lock table orders"):
        with connect(application_name="culprit").transaction() as one:
            one.connection.execute(locking)
            told = Runbook(keeper, lock_seconds=0.1).answer_all()
            answers = {name: answer.frame() for name, answer in told.items() if isinstance(answer, Answer)}
            assert told.keys() == answers.keys()
            found = answers["partitions"].set_index("relation").loc[month]
            assert found["locked"]
            assert pd.isna(found["bytes"])
            locks = answers["locks"]
            assert "AccessExclusiveLock" in set(locks[locks["session"] == "culprit"]["mode"])
    assert book.ask("partitions").set_index("relation").loc[month]["bytes"] > 0


def test_a_function_under_a_built_in_name_is_not_called(connect: Connect, keeper: Connection) -> None:
    """Though it fits better than the built-in one, and would be called with the rights of whoever asks."""
    keeper.execute("""
        create schema elsewhere;
        create table elsewhere.menu (id int);
        create function public.format(text, name, name) returns text language sql as $$ select 'hijacked' $$;
    """)
    superuser = connect("")
    one = question("table-exists")
    values = {"table": "menu", "role": "keeper", "path": "{public}"}
    unguarded = superuser.execute(one.placeholders.encode(), values).fetchone()
    assert unguarded
    assert unguarded[-1] == "hijacked"
    verdict = Runbook(superuser, table="menu").ask("table-exists")["verdict"][0]
    assert verdict == "exists, but not in the search_path: write elsewhere.menu"


def test_bad_input_is_told_with_what_to_do(connect: Connect, book: Runbook, keeper: Connection) -> None:
    """Before or by the server, and the connection goes on."""
    with pytest.raises(BadInput, match="unknown question 'nope'; there are: this-connection, table-exists"):
        book.ask("nope")
    for table, said in {
        "nope": r"role keeper finds no table nope in the schemas \{pg_catalog,public\} .*: ask table-exists",
        "orders_pkey": "public.orders_pkey is no table",
        '"a': "table",  # 16 and newer find none, older ones cannot read the name
        "a.b.c.d": "a table is written as in SQL",
        "x; drop table orders": "table",
    }.items():
        with pytest.raises(BadInput, match=said):
            Runbook(book.connection, table=table).ask("partitions")
    with pytest.raises(BadInput, match="0 or more, not -1"):
        Runbook(keeper, months=-1)
    with pytest.raises(BadInput, match="positive numbers of seconds"):
        Runbook(keeper, lock_seconds=0)
    with pytest.raises(BadInput, match='role "nobody" does not exist'):
        Runbook(keeper, role="nobody").ask("role-access")
    with pytest.raises(BadInput, match="invalid input syntax for type interval"):
        Runbook(keeper, older_than="soon").ask("long-transactions")
    assert len(book.ask("partitions")) == 2
    keeper.execute("begin")
    with pytest.raises(errors.DivisionByZero):
        keeper.execute("select 1 / 0")
    with pytest.raises(QuestionFailed, match="transaction has failed; roll it back first"):
        Runbook(keeper).ask("counters")
    book.connection.close()
    with pytest.raises(ServerLost):
        book.ask("counters")


def test_psql_runs_every_file(server: Server, connect: Connect, book: Runbook) -> None:
    """With the table as a variable, and as many rows and the same columns as here."""
    psql = DEBIAN / "psql" if DEBIAN.is_dir() else find_postgres().path.with_name("psql")
    variables = {"table": "orders", "role": "keeper", "months": "2", "older_than": "0 s", "path": "{public}"}
    words = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    for one in questions():
        file = shipped("sql", "runbook", f"{one.name}.sql")
        done = subprocess.run(
            [psql, "-XAq", *words, "-v", "ON_ERROR_STOP=1", "-f", file, server.dsn("keeper")],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        answer = Runbook(book.connection, older_than="0 s").ask(one)
        lines = done.stdout.splitlines()
        assert lines[0].split("|") == list(answer.columns)
        assert lines[-1] == f"({len(answer)} row{'' if len(answer) == 1 else 's'})"


# -- is it there


def test_a_table_that_exists_and_is_inaccessible_is_told_from_a_missing_one(
    connect: Connect, keeper: Connection
) -> None:
    """To the role that may do nothing with it as well; the remedy that is named works."""
    clerk = connect("clerk")
    found = Runbook(clerk).ask("table-exists").iloc[0]
    assert (found["kind"], found["owner"], found["select"]) == ("partitioned table", "keeper", False)
    assert found["verdict"] == "exists, inaccessible: grant select on public.orders to clerk"
    with pytest.raises(errors.InsufficientPrivilege):
        clerk.execute("select count(*) from orders")
    keeper.execute(found["verdict"].partition(": ")[2])
    assert Runbook(clerk).ask("table-exists")["verdict"][0] == "exists"
    assert clerk.execute("select count(*) from orders").fetchone() == (0,)
    assert Runbook(clerk, table="nope").ask("table-exists")["verdict"][0] == (
        f"missing: database {DATABASE} has no table of this name"
    )


def test_a_schema_without_usage_another_schema_and_another_case_are_told(connect: Connect, keeper: Connection) -> None:
    """Each with what to write or to grant; only the exact name in the search_path simply exists."""
    keeper.execute("""
        create schema secret; create table secret.receipts (id int); create table "Orders" (id int);
        create schema archive; create table archive.orders (id int);
    """)
    clerk = connect("clerk")

    def verdicts(table: str, connection: Connection) -> list[str]:
        return list(Runbook(connection, table=table).ask("table-exists")["verdict"])

    no_usage = ["exists, inaccessible: grant usage on schema secret to clerk"]
    assert verdicts("secret.receipts", clerk) == verdicts("receipts", clerk) == no_usage
    with pytest.raises(QuestionFailed, match="42501"):
        Runbook(clerk, table="secret.receipts").ask("partitions")
    assert verdicts("orders", keeper) == [
        "exists",
        "exists, but not in the search_path: write archive.orders",
        'another name: write "Orders"',
    ]
    assert verdicts("archive.orders", keeper)[0] == "exists"
    assert verdicts('"Orders"', keeper)[0] == "exists"
    assert verdicts("nowhere.orders", keeper)[0] == "in another schema: write public.orders"


def test_a_role_sees_the_rights_of_another(connect: Connect, keeper: Connection) -> None:
    """Without being it, or a member of it."""
    found = Runbook(connect("clerk"), role="pizza_admin").ask("table-exists").iloc[0]
    assert (found["select"], found["insert"], found["verdict"]) == (True, True, "exists")
    keeper.execute("revoke select on orders from pizza_admin")
    assert "to pizza_admin" in Runbook(connect("clerk"), role="pizza_admin").ask("table-exists")["verdict"][0]


def test_who_asks_is_told_what_is_hidden_and_what_to_grant(connect: Connect) -> None:
    """A role without superuser; the grant makes it go away."""
    clerk, superuser = connect("clerk"), connect("")

    def said() -> dict[str, tuple[Any, Any]]:
        answer = Runbook(clerk).ask("this-connection")
        return {row["subject"]: (row["answer"], row["remedy"]) for row in answer.to_dict("records")}

    before = said()
    assert before["role"][0] == "clerk"
    assert before["transaction"][0] == "read only, statement_timeout 10s, lock_timeout 2s"
    assert "hide state, query and age" in before["sessions of other roles"][0]
    assert before["configuration files"][0] == "hidden"
    try:
        superuser.execute(before["sessions of other roles"][1])
        for grant in before["configuration files"][1].split(";"):
            superuser.execute(grant)
        after = said()
        assert (after["sessions of other roles"][0], after["configuration files"][0]) == ("shown", "shown")
    finally:
        superuser.execute("revoke pg_read_all_stats from clerk")


def test_tables_and_columns_are_listed(book: Runbook) -> None:
    """Partitions under their parent; the two columns of the key, of which one partitions."""
    tables = book.ask("tables").set_index("table")
    assert {"order_ids", "orders", "slot_plans", "slots"} <= set(tables.index)
    assert not [name for name in tables.index if name.startswith("orders_")]
    assert (tables.loc["orders"]["kind"], tables.loc["orders"]["partitions"]) == ("partitioned table", 1)
    columns = book.ask("columns")
    assert len(columns) == 27
    assert list(columns[columns["primary_key"]]["column"]) == ["id", "created_at"]
    assert list(columns[columns["partition_key"]]["column"]) == ["created_at"]


# -- rights


def test_rights_on_a_new_partition_are_seen_before_it_is_made(
    connect: Connect, book: Runbook, keeper: Connection
) -> None:
    """Access through the parent works without them, direct access does not; default privileges reach the next one."""
    keeper.execute("create table bare partition of orders for values from ('2020-01-01Z') to ('2020-02-01Z')")
    lacking = "delete, insert, select, update"

    def granted(relation: str) -> tuple[Any, Any]:
        answer = book.ask("permissions")
        row = answer[(answer["relation"] == relation) & (answer["grantee"] == "pizza_admin")].iloc[0]
        return row["privileges"], row["lacking"]

    assert granted("orders")[0] == lacking
    assert granted("bare")[1] == granted("(next partition)")[1] == lacking
    access = Runbook(connect("clerk"), role="pizza_admin").ask("role-access").set_index("relation")
    assert (access.loc["orders"]["verdict"], access.loc["bare"]["verdict"]) == ("everything", "only through the parent")

    pizza_admin = connect("pizza_admin")
    pizza_admin.execute(ORDER.format(moment="'2020-01-15Z'"))
    with pytest.raises(errors.InsufficientPrivilege):
        pizza_admin.execute("select count(*) from bare")

    keeper.execute("alter default privileges in schema public grant select on tables to pizza_admin")
    assert granted("(next partition)") == ("select", "delete, insert, update")
    keeper.execute("alter default privileges grant insert, update, delete on tables to pizza_admin")
    assert granted("(next partition)")[0] == lacking
    assert pd.isna(granted("(next partition)")[1])
    keeper.execute("create table newer partition of orders for values from ('2020-02-01Z') to ('2020-03-01Z')")
    assert granted("newer")[0] == lacking
    assert pizza_admin.execute("select count(*) from newer").fetchone() == (0,)


def test_what_a_role_can_do_counts_memberships_and_names_the_grant(connect: Connect, keeper: Connection) -> None:
    """PUBLIC's too; what is lacking is a statement that works."""
    book = Runbook(connect("clerk"))
    keeper.execute("grant select on orders to public")
    found = book.ask("role-access").set_index("relation").loc["orders"]
    assert found["verdict"] == ("lacks insert, update, delete: grant insert, update, delete on public.orders to clerk")
    keeper.execute(found["verdict"].partition(": ")[2])
    assert book.ask("role-access").set_index("relation").loc["orders"]["verdict"] == "everything"
    keeper.execute("revoke usage on schema public from public")
    assert Runbook(keeper, role="clerk").ask("role-access")["verdict"][0] == (
        "nothing: grant usage on schema public to clerk"
    )


# -- indexes


def test_use_is_summed_over_partitions_and_holes_are_named(book: Runbook, keeper: Connection) -> None:
    """An index that no partition has, one that only a partition has, and scans that the parent never counts."""
    month = book.ask("missing-partitions")["partitions"][0]
    keeper.execute(f"""
        create table old partition of orders for values from ('2020-01-01Z') to ('2020-02-01Z');
        create index holey on only orders (customer_id);
        create index on {month} (customer_phone);
    """)
    keeper.execute("set enable_seqscan = off")
    for _ in range(3):
        keeper.execute("select * from orders where status = 'ready'")
    keeper.execute("select pg_stat_force_next_flush()")
    found = book.ask("indexes").set_index("index")
    use = found.loc["idx_orders_status_created_at"]
    assert (use["on"], use["partitions"], use["scans"], use["valid"]) == ("orders", 2, 6, True)
    assert found.loc["orders_pkey"]["primary"]
    assert (found.loc["holey"]["valid"], found.loc["holey"]["missing_on"]) == (False, f"old, {month}")
    assert found.loc[f"{month}_customer_phone_idx"]["on"] == month
    assert use["bytes"] >= 16384
