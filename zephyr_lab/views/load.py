"""Figures of runs of the order service: one over time, several side by side, curves over a condition."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zephyr_lab.views.figure import BAD, GOOD, GRID, GROUND, INK, PALE, SESSIONS, WARN, Picture, new_figure, style

WIDTH = 10.0  # inches


def course(report: dict[str, Any], text: str) -> Picture:
    """One run over time: orders requested and created, oversold slots, latencies, retries."""
    with style():
        figure = new_figure(WIDTH, 2.9)
        rate, latency, retries = figure.subplots(1, 3, width_ratios=[2.2, 1.3, 1])
        _rates(rate, report)
        _latencies(latency, report["latency_ms"])
        _retries(retries, report["retries"])
        figure.suptitle(_name(report["figures"]), x=0.01, ha="left", color=INK, weight="bold")
        colour = BAD if report["wrong"] else GOOD if report["verdict"].endswith("nothing lost") else WARN
        figure.text(0.99, 0.955, textwrap.shorten(report["verdict"], 110), ha="right", color=colour)
        figure.tight_layout(rect=(0, 0, 1, 0.96))
        return Picture.of(figure, text)


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=PALE)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def _rates(axes: Axes, report: dict[str, Any]) -> None:
    found = report["course"]
    period = found["period_seconds"]
    seconds = [period * (at + 0.5) for at in range(len(found["offered"]))]
    per_second = [[count / period for count in found[name]] for name in ("offered", "created")]
    axes.plot(seconds, per_second[0], color=PALE, linewidth=1, linestyle=":", label="asked for")
    axes.plot(seconds, per_second[1], color=SESSIONS[0], linewidth=1.4, label="created")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds", color=PALE)
    _plain(axes, "orders a second")
    for fault in report["faults"]:
        axes.axvspan(fault["began"], max(fault["gone"], fault["began"] + 0.05), color=BAD, alpha=0.15, linewidth=0)
        axes.text(fault["began"], axes.get_ylim()[1], f" {fault['name']}", va="top", color=BAD)
        if fault["recovered"] is not None:
            axes.axvline(fault["gone"] + fault["recovered"], color=GOOD, linewidth=1)
    oversold = {int(at): slots for at, slots in found["oversold"].items()}
    if any(oversold.values()):
        other = axes.twinx()
        other.step([period * at for at in oversold], list(oversold.values()), color=BAD, where="post")
        other.set_ylim(bottom=0)
        other.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        other.set_ylabel("oversold slots", color=BAD)
        other.tick_params(colors=BAD)
        other.spines[["top"]].set_visible(False)
    # Above the axes, since lines may be anywhere inside.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.1, columnspacing=1)


def _latencies(axes: Axes, latency: Mapping[str, float]) -> None:
    names = ("50", "90", "95", "99", "99.9", "100")
    values = [max(latency[name], 0.01) for name in names]
    axes.barh(range(len(names)), values, color=SESSIONS[0], height=0.6)
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:,.3g}" if value < 1000 else f" {value:,.0f}", va="center", color=PALE)
    axes.set_yticks(range(len(names)), [f"p{name}" if name != "100" else "longest" for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")  # not a power with a small exponent
    axes.xaxis.set_minor_formatter("")
    axes.set_xlim(min(0.5, *values), 4 * max(values))
    _plain(axes, "latency, ms")
    axes.grid(visible=False)


def _retries(axes: Axes, retries: Mapping[str, int]) -> None:
    numbers = range(max([4, *map(int, retries)]) + 1)
    axes.bar(numbers, [retries.get(str(number), 0) for number in numbers], color=SESSIONS[4], width=0.7)
    axes.set_xticks(numbers)
    _plain(axes, "orders by retries")


def strategies(reports: Sequence[dict[str, Any]], text: str) -> Picture:
    """Throughput, latency and overselling of runs: one line per run, red if money is lost."""
    names = [_name(one["figures"]) for one in reports]
    places = range(len(reports))
    with style():
        figure = new_figure(WIDTH, 0.9 + 0.27 * len(reports))
        columns = figure.subplots(1, 4, sharey=True)
        for axes, (title, key, unit, log) in zip(columns, COMPARED, strict=True):
            values = [unit * (one["figures"][key] or 0) for one in reports]
            axes.barh(places, values, color=[_colour(one, key) for one in reports], height=0.62)
            if log and max(values) > 0:
                axes.set_xscale("symlog", linthresh=1)
            for place, value in zip(places, values, strict=True):
                axes.text(value, place, f" {value:,.0f}", va="center", color=PALE)
            axes.margins(x=0.22)
            _plain(axes, title)
            axes.grid(visible=False)
            axes.set_xticks([])
        columns[0].set_yticks(places, names)
        columns[0].tick_params(axis="y", colors=INK, length=0)
        columns[0].invert_yaxis()
        figure.tight_layout()
        return Picture.of(figure, text)


COMPARED = (
    ("created, orders/s", "achieved_rate", 1, False),
    ("p99 latency, ms (log)", "p99_ms", 1, True),
    ("refused attempts, %", "failed_attempts", 100, False),
    ("oversold, roubles (log)", "roubles_over", 1, True),
)


def _name(figures: dict[str, Any]) -> str:
    level = figures["isolation"]
    strategy: str = figures["strategy"]
    return strategy + ("" if level == "its own" else f" at {level}")


def _colour(report: dict[str, Any], key: str) -> str:
    figures = report["figures"]
    if figures["roubles_over"]:
        return BAD
    return WARN if key == "failed_attempts" or figures["created"] < 0.99 * figures["sent"] else GOOD


def curves(
    x: Sequence[Any],
    lines: Mapping[str, Sequence[float]],
    *,
    across: str,
    up: str,
    text: str,
    limit: float | None = None,
) -> Picture:
    """Results over a condition that is varied step by step; `limit` is their claimed upper bound."""
    with style():
        figure = new_figure(6.4, 3.0)
        axes = figure.subplots()
        places = range(len(x))
        for number, (name, values) in enumerate(lines.items()):
            colour = SESSIONS[number % len(SESSIONS)]
            axes.plot(places, values, marker="o", markersize=4, color=colour, label=name)
        if limit is not None:
            axes.axhline(limit, color=PALE, linewidth=1, linestyle=":")
            axes.text(0, limit, f" claimed: under {limit:g}", va="bottom", color=PALE)
        axes.set_xticks(places, [str(value) for value in x])
        axes.set_xlabel(across, color=PALE)
        axes.set_ylim(bottom=0)
        _plain(axes, up)
        if len(lines) > 1:
            axes.legend(frameon=False)
        figure.tight_layout()
        return Picture.of(figure, text)


def verdicts(counts: Mapping[str, Mapping[str, int]], text: str) -> Picture:
    """A bar for each part of a document: how many of its claims hold, hold on a condition, do not hold."""
    colours = {"holds": GOOD, "holds when": WARN, "does not hold": BAD}
    with style():
        figure = new_figure(WIDTH, 0.7 + 0.42 * len(counts))
        axes = figure.subplots()
        ends = [0] * len(counts)
        for verdict, colour in colours.items():
            numbers = [its.get(verdict, 0) for its in counts.values()]
            axes.barh(range(len(counts)), numbers, left=ends, color=colour, height=0.62, label=verdict)
            for place, (end, number) in enumerate(zip(ends, numbers, strict=True)):
                if number:
                    axes.text(end + number / 2, place, str(number), ha="center", va="center", color=GROUND)
            ends = [end + number for end, number in zip(ends, numbers, strict=True)]
        axes.set_yticks(range(len(counts)), list(counts))
        axes.set_xticks([])
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.02))
        figure.tight_layout()
        return Picture.of(figure, text)


def live(points: Sequence[tuple[float, int, int]], seconds: float) -> Picture:
    """A run in progress: (seconds, orders created, slots oversold) so far."""
    with style():
        figure = new_figure(WIDTH, 2.4)
        created, oversold = figure.subplots(1, 2)
        for axes, place, colour, title in (
            (created, 1, SESSIONS[0], "orders created"),
            (oversold, 2, BAD, "oversold slots"),
        ):
            axes.plot([point[0] for point in points], [point[place] for point in points], color=colour)
            axes.set_xlim(0, seconds)
            axes.set_ylim(bottom=0)
            _plain(axes, title)
        figure.tight_layout()
        return Picture.of(figure, "a run under way")
