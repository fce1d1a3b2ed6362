"""Slots: the orders' sums, the counters, and the capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zephyr_lab.views.figure import BAD, GRID, INK, PALE, SESSIONS, Picture, new_figure, style

WIDTH, HEIGHT = 10.0, 2.9  # inches
BAR = 0.26


def slot_chart(
    names: Sequence[str], accounts: Mapping[str, Sequence[int]], capacities: Sequence[int], text: str
) -> Picture:
    """A group of bars for each slot, a bar for each account (roubles), a line for the capacity.

    The part above the capacity is red. `text` is shown where figures are not possible.
    """
    with style():
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.add_axes((0.1, 0.12, 0.89, 0.84))
        for place, (account, roubles) in enumerate(accounts.items()):
            at = [number + (place - (len(accounts) - 1) / 2) * BAR for number in range(len(names))]
            within = [min(one, capacity) for one, capacity in zip(roubles, capacities, strict=True)]
            over = [max(one - capacity, 0) for one, capacity in zip(roubles, capacities, strict=True)]
            axes.bar(at, within, BAR * 0.92, color=SESSIONS[place], alpha=0.75, label=account)
            axes.bar(at, over, BAR * 0.92, bottom=within, color=BAD)
            for x, one in zip(at, roubles, strict=True):
                axes.text(x, one, f"{one:,}", ha="center", va="bottom", color=INK)
        for number, capacity in enumerate(capacities):
            axes.plot([number - 0.45, number + 0.45], [capacity, capacity], color=INK, linewidth=1.2, linestyle="--")
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="roubles", xlim=(-0.6, max(len(names) - 0.4, 2.6)))
        axes.set_ylim(0, 1.22 * max([*capacities, *(one for roubles in accounts.values() for one in roubles)]))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.tick_params(colors=PALE)
        axes.grid(axis="y", color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(frameon=False, loc="upper right", ncols=len(accounts), labelcolor=INK)
        return Picture.of(figure, text)
