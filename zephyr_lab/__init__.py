"""Transaction isolation, understood by running it on a real PostgreSQL.

from zephyr_lab import Lab

with Lab() as lab:
    lab.case("lost-update", isolation="repeatable read").run("A B A B A B")
"""

from zephyr_lab.lab import Case, Lab
from zephyr_lab.schedule.levels import IsolationLevel

__version__ = "0.1.0"
__all__ = ["Case", "IsolationLevel", "Lab", "__version__"]
