"""What the catalogue says of functions, of which those of initdb are asked for once."""

from zephyr_lab import Lab
from zephyr_lab.explore.schema import Schema

WITH_TRIGGERS = """
create function nothing() returns trigger language plpgsql as 'begin return new; end';
create table plain (id int, made timestamptz default now(), twice int generated always as (id * 2) stored);
create table watched (id int default 7);
create trigger watching before insert on watched for each row execute function nothing()
"""


def schema_of(lab: Lab, setup: str) -> Schema:
    """As the catalogue has it after this setup."""
    with lab.function_explorer([print], setup=setup).beginning():
        return Schema.ask(lambda sql: lab.engine.runner.workspace.execute(sql, "the catalogue"))


def test_defaults_and_triggers_are_those_of_tables(lab: Lab) -> None:
    """One that is run at the end of the transaction is everybody's."""
    found = schema_of(lab, WITH_TRIGGERS)
    assert sorted(found.defaults) == [("plain", "(id * 2)"), ("plain", "now()"), ("watched", "7")]
    assert (found.triggered, found.plain, found.sets_defaults) == ({("watched", "insert")}, True, False)
    keys = "create table a (id int primary key); create table b (a int default 1 references a on delete set default)"
    assert schema_of(lab, keys).sets_defaults
    late = "create constraint trigger late after insert on plain deferrable for each row execute function nothing()"
    assert not schema_of(lab, f"{WITH_TRIGGERS}; {late}").plain


def test_a_function_that_somebody_adds_to_pg_catalog_is_not_taken_for_the_built_in_one_of_its_name(lab: Lab) -> None:
    lab.case("lost-update").run()
    workspace = lab.engine.runner.workspace

    def functions() -> dict[str, str]:
        return Schema.ask(lambda sql: workspace.execute(sql, "the catalogue")).functions

    assert functions()["abs"] == "immutable"
    with lab.connect() as connection:
        connection.execute("create function pg_catalog.abs(text) returns int language sql as 'select 1'")
        connection.commit()
        try:
            assert functions()["abs"] == "other"
        finally:
            connection.execute("drop function pg_catalog.abs(text)")
            connection.commit()
    assert functions()["abs"] == "immutable"
