"""`zephyr-lab ...`: the lab's verbs for the shell. Thin: each command calls the API and prints.

`commands` has all of them. A plain `zephyr-lab check FILE` needs neither them nor the library that parses options,
whose start takes longer than a hundred thousand operations.
"""

from __future__ import annotations

import sys
from typing import Any

from zephyr_lab.cli import histories
from zephyr_lab.errors import LabError
from zephyr_lab.extras import needed_by


def __getattr__(name: str) -> Any:
    if name == "app":
        from zephyr_lab.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """The entry point: prints the lab's own errors in one line, without a traceback."""
    words = sys.argv[1:]
    try:
        with needed_by(" ".join(["zephyr-lab", *words[:1]])):
            if words[:1] == ["check"] and (asked := histories.plain(words[1:])):
                sys.exit(histories.judge(**asked))
            from zephyr_lab.cli.commands import app

            app()
    except (LabError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        from zephyr_lab.cli.common import err

        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
