"""One serial run of functions with all that they asked: what a hunt decides by which of them may race."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zephyr_lab.explore.footprint import Footprint
from zephyr_lab.functions.trips import RoundTrip
from zephyr_lab.schedule.transcript import Transcript


@dataclass(frozen=True)
class Trace:
    """The round trips by session. `footprint` gives what a statement may touch, in the schema of this run.

    `unseen` is what they used that is in no outcome: files, messages, Python's memory. `hides_memory`: they may share
    memory that cannot be inspected, as the requests to a service do. `numbers_are_shared`: several tables draw numbers
    from one sequence.
    """

    transcript: Transcript
    trips: Mapping[str, tuple[RoundTrip, ...]]
    footprint: Callable[[str], Footprint]
    unseen: tuple[str, ...] = ()
    hides_memory: bool = False
    numbers_are_shared: bool = True


# A sequence is used by a table's default, or is that of its identity column.
SHARED_NUMBERS = """
select count(*) from (
  select numbers.oid from pg_class as numbers join pg_depend on numbers.oid in (objid, refobjid)
  left join pg_attrdef on classid = 'pg_attrdef'::regclass and pg_attrdef.oid = objid
  where numbers.relkind = 'S' and numbers.relnamespace = current_schema::regnamespace
    and (adrelid is not null or classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass
         and objid = numbers.oid and deptype in ('a', 'i'))
  group by numbers.oid having count(distinct coalesce(adrelid, refobjid)) > 1) as shared"""
