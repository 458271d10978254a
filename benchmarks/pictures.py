"""The pictures of the benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpmlp.show.figures import BLUE, GREY, ORANGE, drawing, matplotlib

COLORS = {
    "xpmlp numpy": BLUE,
    "xpmlp cupy": BLUE,
    "xpmlp, no Numba": "#7fb2dc",
    "xpmlp torch": "#a9c9e6",
    "xpmlp jax": "#cfe0f0",
    "PyTorch eager": ORANGE,
    "PyTorch compile": "#f0a878",
    "PyTorch graph": "#c95b12",
    "JAX jit + scan": "#5b9a68",
    "scikit-learn": "#9c8cc0",
    "CuPy eager": "#b9c0c7",
}

PRECISIONS = ("float32", "tf32", "bf16")


def training(results: Mapping[str, Any], path: Path) -> None:
    """Draw how many times the bare products a step takes, as bars by network."""
    names = [n for n in COLORS if any(n in network["rows"] for network in results.values())]
    thick = 0.86 / len(names)
    with drawing(path, 9, 1.2 + 0.17 * (len(names) + 1.2) * len(results)) as figure:
        axes = figure.add_subplot()
        for k, name in enumerate(names):
            shift = (k - (len(names) - 1) / 2) * thick
            found = [(i + shift, n["rows"].get(name)) for i, n in enumerate(results.values())]
            bars = [(place, row["times_the_floor"]) for place, row in found if row]
            places, times = zip(*bars, strict=True)
            drawn = axes.barh(places, times, thick * 0.9, color=COLORS[name], label=name)
            axes.bar_label(
                drawn,
                [f" {t:.2f}" if t < 10 else f" {t:.0f}" for t in times],
                fontsize=7,
                color=GREY,
            )
        axes.axvline(1, color="#20262b", linewidth=1.2)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set_xlim(left=0.7)
        axes.grid(False, axis="y")
        labels = [f"{name}\nbatch {network['batch']}" for name, network in results.items()]
        axes.set_yticks(range(len(results)), labels)
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_title("A training step compared to its matrix products alone (the line)")
        axes.set_xlabel("times as long as the products; less is better")
        figure.legend(fontsize=8, loc="outside right upper")


def _plain(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as numbers, also between the powers of ten."""
    axis.set_major_locator(matplotlib(".ticker").LogLocator(subs=(1, 2, 5)))
    axis.minorticks_off()
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def scaling(results: Mapping[str, Any], path: Path) -> None:
    """Draw an epoch's time over its arithmetic, by width and by rows."""
    titles = {"width": "784-w-w-10, by width w", "rows": "784-128-10, by rows"}
    with drawing(path, 9, 3.8) as figure:
        for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            work = [row["flops"] / 1e9 for row in results[key]]
            seconds = [row["seconds"] for row in results[key]]
            rate = seconds[-1] / work[-1]
            axes.loglog(work, [w * rate for w in work], "--", color=GREY, label="in proportion")
            axes.loglog(work, seconds, "o-", color=BLUE, label="xpmlp numpy")
            for row, x, y in zip(results[key], work, seconds, strict=True):
                axes.annotate(
                    f"{row['at']:,}",
                    (x, y),
                    (4, -11),
                    textcoords="offset points",
                    fontsize=8,
                    color=GREY,
                )
            for axis in (axes.xaxis, axes.yaxis):
                _plain(axis)
            axes.set_title(title)
            axes.set_xlabel("10⁹ floating-point operations of an epoch")
            axes.set_ylabel("seconds of an epoch")
            axes.legend(fontsize=8, loc="upper left")


def gpu_steps(cases: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what a step takes: a panel for each batch size (down) and precision (across)."""
    batches = sorted({case["batch"] for case in cases})
    precisions = [p for p in PRECISIONS if any(case["precision"] == p for case in cases)]
    names = [name for name in COLORS if any(name in case["rows"] for case in cases)]
    size = (1.8 + 3.4 * len(precisions), 1.3 + (0.6 + 0.25 * len(names)) * len(batches))
    with drawing(path, *size) as figure:
        grid = figure.subplots(
            len(batches), len(precisions), sharex="row", sharey=True, squeeze=False
        )
        for axes in grid.flat:
            axes.set_visible(False)
        for case in cases:
            place = batches.index(case["batch"]), precisions.index(case["precision"])
            _gpu_panel(grid[place], case, names)
        for row, batch in zip(grid, batches, strict=True):
            row[0].set_xlim(*_limits([case for case in cases if case["batch"] == batch]))
        for axes in grid[-1]:
            axes.set_xlabel("µs of a training step; less is better")
        line = "; the line: our own floor" if any(_floor(case) for case in cases) else ""
        figure.suptitle(
            f"784-512-512-10 with Adam on one GPU: everyone at the same precision{line}",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )


def _limits(cases: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of an axis that has room for what is left of the bars, and for numbers."""
    medians = [row["us_per_step"]["median"] for case in cases for row in case["rows"].values()]
    floors = [floor for floor in map(_floor, cases) if floor]
    return 0.6 * min(medians + floors), 2.2 * max(medians)


def _floor(case: Mapping[str, Any]) -> float | None:
    value: float | None = (case.get("floor") or {}).get("us")
    return value


def _gpu_panel(axes: Any, case: Mapping[str, Any], names: Sequence[str]) -> None:
    """Draw bars over a logarithmic axis, with the quartiles and the medians."""
    axes.set_visible(True)
    for place, name in enumerate(names):
        if name not in case["rows"]:
            axes.text(
                0.02,
                place,
                "left out",
                transform=axes.get_yaxis_transform(),
                fontsize=8,
                color=GREY,
                va="center",
                backgroundcolor="white",
            )
            continue
        us = case["rows"][name]["us_per_step"]
        axes.barh(place, us["median"], 0.72, color=COLORS[name])
        axes.plot([us["q1"], us["q3"]], [place, place], color="#20262b", linewidth=1.2)
        axes.annotate(
            f"{us['median']:,.{0 if us['median'] >= 100 else 1}f}",
            (max(us["median"], us["q3"]), place),
            (4, 0),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
            va="center",
        )
    if floor := _floor(case):
        axes.axvline(floor, color="#20262b", linewidth=1.2)
    axes.set_xscale("log")
    _plain(axes.xaxis)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_title(f"{case['precision']}, batch {case['batch']:,}")
