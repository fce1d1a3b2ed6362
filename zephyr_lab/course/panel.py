"""A panel to put the order service under load by hand: choose, run, watch."""

from __future__ import annotations

import time
from typing import Any

from zephyr_lab.errors import LabError
from zephyr_lab.load import Incident, Progress, Report
from zephyr_lab.load.conditions import FIXED_CAPACITY, KNOWN
from zephyr_lab.options import LoadOptions
from zephyr_lab.views.load import live

DRAW_SECONDS = 1.0
LEVELS = ("its own", "read committed", "repeatable read", "serializable")


class Panel:
    """An ipywidgets panel on `lab`, a `Lab`; `report` is the last run's. Interrupt the kernel to end a run early."""

    def __init__(self, lab: Any) -> None:
        import ipywidgets as widgets  # as long to import as a small notebook takes to run

        self.lab, self.report = lab, None
        wide = {"layout": {"width": "26em"}, "style": {"description_width": "7em"}}

        def control(kind: Any, name: str, title: str, **more: Any) -> Any:
            more = {"value": getattr(LoadOptions, name), "tooltip": LoadOptions.about(name).help, **more}
            return kind(description=title, **more, **wide)

        self.strategy = control(widgets.Dropdown, "strategy", "strategy", options=list(KNOWN))
        self.isolation = control(widgets.Dropdown, "isolation", "isolation", options=LEVELS, value=LEVELS[0])
        # Less than the command's: a reader waits for it.
        self.rate = control(widgets.IntSlider, "rate", "orders/s", value=400, min=50, max=1500, step=50)
        self.seconds = control(widgets.IntSlider, "seconds", "seconds", value=5, min=1, max=30)
        self.slots = control(widgets.SelectionSlider, "slots", "hot slots", options=[1, 4, 16, 64])
        self.pool = control(widgets.SelectionSlider, "pool", "pool", options=[1, 2, 4, 8, 16, 25, 50])
        self.button = widgets.Button(description="Run", button_style="primary")
        self.said = widgets.HTML()
        self.chart = widgets.Image(format="svg+xml", layout={"width": "100%"})
        self.button.on_click(lambda _: self.run())
        left = [self.strategy, self.isolation, self.rate]
        right = [self.seconds, self.slots, self.pool]
        controls = widgets.HBox([widgets.VBox(left), widgets.VBox(right)])
        self.box = widgets.VBox([controls, self.button, self.said, self.chart])
        self._seen: list[Progress] = []
        self._drawn = 0.0

    report: Report | None

    def incident(self) -> Incident:
        """The conditions that are chosen. Raises BadInput."""
        level = None if self.isolation.value == LEVELS[0] else self.isolation.value
        capacity = 100_000 if self.strategy.value in FIXED_CAPACITY else 50_000
        return Incident(
            strategy=self.strategy.value,
            isolation=level,
            rate=self.rate.value,
            seconds=self.seconds.value,
            slots=self.slots.value,
            pool=self.pool.value,
            capacity=capacity,
        )

    def run(self) -> None:
        """Runs it; errors are shown in the panel."""
        self.button.disabled, self._seen, self._drawn = True, [], 0.0
        try:
            report = self.report = self.lab.incident(self.incident(), self._look)
            self.chart.value = report.figure().image
            self.said.value = f"<b>{report.verdict}</b>"
        except LabError as error:
            self.said.value = f"<b>not run:</b> {error}"
        finally:
            self.button.disabled = False

    def _look(self, far: Progress) -> None:
        self._seen.append(far)
        if time.monotonic() - self._drawn > DRAW_SECONDS:
            self._drawn = time.monotonic()
            self.said.value = f"{far.created:,} orders, {far.oversold} slots oversold by {far.roubles_over:,} roubles"
            points = [(one.elapsed, one.created, one.oversold) for one in self._seen]
            self.chart.value = live(points, far.incident.seconds).image

    def __repr__(self) -> str:
        return "A panel: strategy, isolation, orders/s, seconds, hot slots, pool; Run, and a chart that moves."

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {**(self.box._repr_mimebundle_() or {}), "text/plain": repr(self)}
