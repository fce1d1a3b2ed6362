"""What `zephyr-lab spec` prints, in examples small enough to check by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from math import comb
from pathlib import Path

import pytest

from zephyr_lab import Lab
from zephyr_lab.errors import SetupFailed, StepTimeout
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.isolationtester import interleavings

SPEC = """
setup { create table t (name text, n int); insert into t values ('a', 1), ('long', -20), (null, null); }
teardown { drop table t; }
session s1
setup { select 'ready' as s1; }
step read { select * from t order by n; }
step begin1 { begin; update t set n = n + 1 where name = 'a'; }
step end1 { commit; }
session s2
step write {
  update t set n = 7 where name = 'a'; }
step fail { select 1 / 0; }
step notice { do $$ begin raise notice 'seen' using detail = 'twice'; end $$; }
step tell { notify c, 'hello'; }
permutation begin1 write end1 read
permutation write(*) fail notice
"""

EXPECTED = """\
Parsed test spec with 2 sessions

starting permutation: begin1 write end1 read
s1   
-----
ready
(1 row)

step begin1: begin; update t set n = n + 1 where name = 'a';
step write: 
  update t set n = 7 where name = 'a'; <waiting ...>
step end1: commit;
step write: <... completed>
step read: select * from t order by n;
name|  n
----+---
long|-20
a   |  7
    |   
(3 rows)


starting permutation: write fail notice
s1   
-----
ready
(1 row)

step write: 
  update t set n = 7 where name = 'a'; <waiting ...>
step write: <... completed>
step fail: select 1 / 0;
ERROR:  division by zero
s2: NOTICE:  seen
DETAIL:  twice
step notice: do $$ begin raise notice 'seen' using detail = 'twice'; end $$;
"""


def printed(lab: Lab, tmp_path: Path, text: str) -> str:
    path = tmp_path / "x.spec"
    path.write_text(text)
    said: list[str] = []
    lab.isolationtester(path, said.append)
    return "".join(said)


def test_it_prints_what_isolationtester_prints(lab: Lab, tmp_path: Path) -> None:
    """Tables aligned by PQprint's rules, waits, marks, errors, notices."""
    assert printed(lab, tmp_path, SPEC) == EXPECTED


def test_a_file_without_permutations_means_all_interleavings(lab: Lab, tmp_path: Path) -> None:
    """First session first; their number is the multinomial coefficient."""
    spec = specfile.parse("""
        session a step a1 { select 1; } step a2 { select 2; }
        session b step b1 { select 3; } step b2 { select 4; }
    """)
    orders = [" ".join(one.step for one in order) for order in interleavings(spec.sessions)]
    assert orders == [
        "a1 a2 b1 b2", "a1 b1 a2 b2", "a1 b1 b2 a2", "b1 a1 a2 b2", "b1 a1 b2 a2", "b1 b2 a1 a2",
    ]  # fmt: skip
    assert len(orders) == comb(4, 2)


def test_notifications_name_their_sender(lab: Lab, tmp_path: Path) -> None:
    """By session."""
    text = """
        session s1 step listen { listen c; } step look { select 1 as one; }
        session s2 step tell { notify c, 'hello'; }
        permutation listen tell look
    """
    assert printed(lab, tmp_path, text).endswith('s1: NOTIFY "c" with payload "hello" from s2\n')


def test_steps_that_wait_for_each_other_for_ever_end_in_an_error(tmp_path: Path) -> None:
    """And nothing hangs; a setup that fails says so."""
    path = tmp_path / "x.spec"
    path.write_text("""
        session s1 step a { select 1; }
        session s2 step b { select 2; }
        permutation a(*, b) b(a)
    """)
    with Lab(step_seconds=1) as lab:
        with pytest.raises(StepTimeout, match="mutually-blocking"):
            lab.isolationtester(path, lambda text: None)
        path.write_text("setup { create tabel; } session s1 step a { select 1; }")
        with pytest.raises(SetupFailed, match=r"setup failed: .*syntax error"):
            lab.isolationtester(path, lambda text: None)


def test_the_command_prints_it(tmp_path: Path) -> None:
    """To standard output, and nothing else."""
    path = tmp_path / "x.spec"
    path.write_text(SPEC)
    program = Path(sys.executable).with_name("zephyr-lab")
    done = subprocess.run([program, "spec", path], capture_output=True, text=True, env=os.environ, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED, "", 0)
