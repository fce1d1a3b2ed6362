"""The order service under load: conditions, clients, results, and their verification.

An `Incident` (`conditions`) is plain data; `arrivals` derives the orders and their times from its seed. `run` empties
the lab's schema, starts `worker` processes (`client`: the loop that sends; or the gRPC server), and monitors the
server (`server_monitor`). Their standard input is a lifeline, as the supervisor's is; on request the clients are on the
workers of a cluster (`distant`). Their counts add up (`counts`: a byte per order, histograms), so the distribution of
orders does not matter. Afterwards `truth` compares each customer's reply with the rows, and money with capacity.

Slots are of a minute, in blocks of twelve, and an order's moment says its block; the clock moves on by a block when
as many orders were asked for as fill eight of its slots. So one slot is hot at any time, and nobody walks through
hundreds of full ones, whatever the rate.

A run shows a service that has been running: clients make their orders before the clock starts, and on each new
connection the strategy is rehearsed, and rolled back, until PostgreSQL keeps its plan (`service`).

Lock waits are sampled (`pg_stat_activity`, 50 times a second, and Little's law); `strategies/lock_timed` is a lock
that times itself, and a test holds the two together. Sessions under load commit synchronously; the lab's others do not.

Faults (`faults`) are plain data too; `injection` brings them about in threads of the process that runs the load, and a
killed server of the lab's is started again by its supervisor, on what is on the disk. A bad `line` is a process
between the service and PostgreSQL. `--kill backend@5s` is SIGKILL to a server process in the middle of an order:
PostgreSQL ends every session and recovers from its log.

A claim (`claims`) is a sentence of the write-up and an experiment on a `Bench` (`finding`): under load (`claims_load`),
or with a few orders (`claims_code`) or a statement (`claims_runbook`) in a database of its own (`scratch_database`).
"""

from zephyr_lab.extras import needed_by

with needed_by("zephyr_lab.load", "load"):
    from zephyr_lab.load.conditions import Incident
    from zephyr_lab.load.processes import Idle
    from zephyr_lab.load.report import Report, compared, comparison, frame, save, to_html, to_json
    from zephyr_lab.load.run import Place, Progress, run

__all__ = [
    "Idle",
    "Incident",
    "Place",
    "Progress",
    "Report",
    "compared",
    "comparison",
    "frame",
    "run",
    "save",
    "to_html",
    "to_json",
]
