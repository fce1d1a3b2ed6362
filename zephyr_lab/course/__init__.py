"""What makes the notebooks a course: predictions, exercises, result cells; their execution and their stored form.

Stored executed, through `course/store.py` only, so that executing again changes no byte; nbval compares, and a test
looks at the stored form. `course/execute.py` runs each at every level it takes, through papermill; the last cell's
`application/vnd.zephyr-lab.result+json` is what CI reads back.

An exercise (`course/exercises`) is scenarios, calls of the learner's function at the same time, and rules, each of
which looks at one schedule (`observed`) and says in words what happened instead. `checker` hands the calls to
`Lab.explore`, with the rules as its invariant, and answers with the shortest schedule that broke one; `observed` also
recognises why, where the schedule shows it. `exactly-once` is not explored: `faults` does to one transaction what
servers and networks do, on connections (`recording_connection`) that are cut in their sockets
(`servers/fault_injection`). What the learners try is in `tests/exercises`, with a right solution of each; the
notebooks hold only the naive ones.

Two terminals: `schedule/terminals` adds each statement as a step to an `Execution` that goes on, so that cells are
recorded, and wait, as any schedule does. It is *observed*: after each step the lab's own connection reads what is
committed, with a lock timeout, so that the stepper can tell versions. `views/story` computes all that a stepper says,
and tells in its docstring what it cannot know; the widget travels with it as a list and needs no kernel. A transcript
that was observed shows itself as a stepper, with its picture beside it for where no widget can be; stored notebooks
keep the picture.

`predict` knows its answers from `data/predictions.toml`, and an exercise its hints and solution from
`data/exercises.toml`: a reader of a cell does not see them first.

`questions` maps what people ask (data/questions.toml) to notebook, heading and evidence, and makes
notebooks/questions.md; a test looks for the evidence in what the cells under the heading have shown.

A notebook of the *measured* kind (`{"zephyr_lab": {"kind": "measured"}}` in its metadata) has times and rates in its
outputs: nbval executes it and compares nothing; its cells assert truths and ratios. The stored form puts the tag into
its cells.
"""

from zephyr_lab.course.posed import exercise
from zephyr_lab.course.predict import predict
from zephyr_lab.course.result import result

__all__ = ["exercise", "predict", "result"]
