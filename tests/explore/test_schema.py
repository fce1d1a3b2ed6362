"""What the catalogue says of functions, of which those of initdb are asked for once."""

from zephyr_lab import Lab
from zephyr_lab.explore.schema import Schema


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
