"""The pictures of ``python -m benchmarks cpu``, drawn with matplotlib's object interface."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from xpmlp.plots import BLUE, DPI, GREY, ORANGE, STYLE

COLOURS = {
    "xpmlp numpy": BLUE,
    "xpmlp, no Numba": "#7fb2dc",
    "xpmlp torch": "#a9c9e6",
    "xpmlp jax": "#cfe0f0",
    "PyTorch eager": ORANGE,
    "PyTorch compile": "#f0a878",
    "JAX jit + scan": "#5b9a68",
    "scikit-learn": "#9c8cc0",
}


def training(results: Mapping[str, Any], path: Path) -> None:
    """Draw how many times the bare products a step takes, as bars by network."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names = [n for n in COLOURS if any(n in network["rows"] for network in results.values())]
    thick = 0.86 / len(names)
    with mpl.rc_context(cast(Any, STYLE)):
        height = 1.2 + 0.17 * (len(names) + 1.2) * len(results)
        figure = Figure(figsize=(9, height), dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        for k, name in enumerate(names):
            shift = (k - (len(names) - 1) / 2) * thick
            found = [(i + shift, n["rows"].get(name)) for i, n in enumerate(results.values())]
            bars = [(place, row["times_the_floor"]) for place, row in found if row]
            places, times = zip(*bars, strict=True)
            drawn = axes.barh(places, times, thick * 0.9, color=COLOURS[name], label=name)
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
        axes.set_title("A training step beside its matrix products alone (the line)")
        axes.set_xlabel("times as long as the products; less is better")
        figure.legend(fontsize=8, loc="outside right upper")
        figure.savefig(path)


def _plain(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as numbers, also between the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def scaling(results: Mapping[str, Any], path: Path) -> None:
    """Draw an epoch's time over its arithmetic, by width and by rows."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    titles = {"width": "784-w-w-10, by width w", "rows": "784-128-10, by rows"}
    with mpl.rc_context(cast(Any, STYLE)):
        figure = Figure(figsize=(9, 3.8), dpi=DPI, layout="constrained")
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
        figure.savefig(path)
