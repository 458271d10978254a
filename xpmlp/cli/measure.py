"""``xpmlp info --measure``: how fast each backend trains a network here, and which to use."""

import os
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from xpmlp.cli.benchmark import Candidate, time_all
from xpmlp.cli.defaults import DEFAULTS
from xpmlp.cli.machine import usable_cpus
from xpmlp.cli.output import Output
from xpmlp.errors import InvalidValueError, short
from xpmlp.mlp import MLP

CLOSE = 1.1
"""Times within this factor count as equal."""

UNSTEADY = 1.5
"""A median this much above the best says more about the machine than about the backend."""

NOTE = (
    "Times are medians of whole training steps, without compilation. Start is the time for "
    "imports, compilation and the first step, after Python, NumPy and xpmlp are loaded."
)


def plan(args: Namespace) -> dict[str, Any]:
    """Return what to train: sizes, batch size and dropout.

    Raises
    ------
    XpmlpError
        For a network that cannot be made.
    """
    settings = DEFAULTS | {"sizes": [784, *DEFAULTS["hidden"], 10]}
    settings = {name: settings[name] for name in ("sizes", "batch_size", "dropout")}
    settings |= {name: args.given[name] for name in settings if name in args.given}
    if settings["batch_size"] < 1:
        raise InvalidValueError(f"--batch-size: found {args.batch_size}; expected 1 or more")
    MLP(
        settings["sizes"], dropout=settings["dropout"], backend="numpy"
    )  # raises if it cannot be made
    return settings


def measure(settings: dict[str, Any], out: Output) -> dict[str, Any]:
    """Measure, print table and advice, and return both."""
    sizes, batch, dropout = settings.values()
    network = f"{'-'.join(map(str, sizes))}, dropout {dropout:g}, batch {batch}"
    out.row("measured", f"{network}, Adam, float32, on random data")
    if warning := busy():
        out.row("busy", warning)
    found, refused = time_all(sizes, batch, dropout)
    use = choose(found)
    for line in ["", *table(found, batch)]:
        out.say(line)
    for name, reason in refused.items():
        out.row(name, reason)
    for line in ["", NOTE, *unsteady(found), "", use["because"]]:
        out.say(line)
    backends = [one.to_dict() for one in found]
    return settings | {"backends": backends, "refused": refused, "use": use}


def busy() -> str | None:
    """Return a warning if other programs have kept the cores busy for the last minute."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < usable_cpus() / 2:
        return None
    return f"other programs use the cores (load {load:.1f}), so times will be too long"


def table(found: list[Candidate], batch: int) -> Iterator[str]:
    """Yield head and rows; ``relative`` is the time of a step over the fastest backend's."""
    yield (
        f"{'backend':<9} {'device':<12} {'µs/step':>11} {'(best)':>11} {'examples/s':>12} "
        f"{'relative':>9} {'start':>8}"
    )
    fastest = min(one.seconds for one in found)
    for one in found:
        yield (
            f"{one.backend:<9} {short(one.device, 12):<12} {1e6 * one.seconds:>11,.0f} "
            f"{1e6 * one.least:>11,.0f} {batch / one.seconds:>12,.0f} "
            f"{one.seconds / fastest:>9.2f} {one.startup:>6.1f} s"
        )


def unsteady(found: list[Candidate]) -> Iterator[str]:
    """Warn of backends whose times are not reliable."""
    names = [one.backend for one in found if one.seconds > UNSTEADY * one.least]
    if names:
        yield (
            f"The times of {', '.join(names)} vary: threads wait for each other, or for a core "
            "that another program uses. Measure again when nothing else runs."
        )


def choose(found: list[Candidate]) -> dict[str, Any]:
    """Return which backend to use and why; the first one is NumPy.

    Of those about as fast as the fastest, choose NumPy, else the one that starts first.
    """
    numpy, *others = found
    fastest = min(found, key=lambda one: one.seconds)
    near = [one for one in found if one.seconds <= CLOSE * fastest.seconds]
    best = min(near, key=lambda one: (one is not numpy, one.startup))
    if not others:
        why = "nothing else works here."
    elif best is numpy:
        how = "the fastest" if best is fastest else f"within 10 % of the fastest, {fastest.backend}"
        start = "at once" if best.startup < 0.5 else f"in {best.startup:.1f} s"
        why = f"it is {how}, needs no other library, and starts {start}."
    else:
        why = f"its steps are {numpy.seconds / best.seconds:.1f} times as fast as NumPy's."
        later = best.startup - numpy.startup
        if later > 0:
            steps = later / (numpy.seconds - best.seconds)
            why += f" It starts {later:.1f} s later, which pays off after {steps:,.0f} steps; a "
            why += "shorter training run ends sooner with numpy."
    device = f" --device {best.asked}" if best.asked else ""
    because = f"Use {best.backend} (--backend {best.backend}{device}): {why}"
    return {"backend": best.backend, "device": best.device, "because": because}
