"""A run as a Python script: run alone, it makes the same network with the same losses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpmlp.nn.optimizers import OPTIMIZERS
from xpmlp.play.network import data_call, fit_arguments, network_arguments, optimizer_arguments
from xpmlp.play.points import Problem
from xpmlp.play.settings import Settings

DEFAULTS: dict[str, Any] = {
    "loss": None,
    "dropout": 0.0,
    "normalization": None,
    "bias": True,
    "initializer": "auto",
    "l1": 0.0,
    "l2": 0.0,
}
"""Arguments of ``xpmlp.MLP`` that a script leaves out."""

WIDTH = 96


def script(settings: Settings, problem: Problem, table: Path | None = None) -> str:
    """Return the script; a table is expected next to it.

    Examples
    --------
    >>> from xpmlp.play.code import script
    >>> from xpmlp.play.network import problem_of
    >>> from xpmlp.play.settings import Settings
    >>> settings = Settings(hidden=(3,), epochs=5)
    >>> print(script(settings, problem_of(settings)).splitlines()[-1])
    print(mlp.evaluate(data.X_test, data.y_test))
    """
    make, places, named = data_call(settings, None if table is None else Path(table.name))
    places = tuple(str(p) if isinstance(p, Path) else p for p in places)
    lines = [
        '"""A network of xpmlp play. It needs: pip install \'xpmlp[cli]\'."""',
        "",
        "import xpmlp",
    ]
    lines.append(f"from {make.__module__} import {make.__name__}")
    if settings.slip:
        lines.append("from xpmlp.tutorial.original import SlippedPenalty")
    lines += ["", f"data = {_call(make.__name__, places, named)}"]
    network = network_arguments(settings, problem)
    sizes, activation = network.pop("sizes"), network.pop("activation")
    network = {n: v for n, v in network.items() if n not in DEFAULTS or v != DEFAULTS[n]}
    if problem.table is not None:
        network["table"] = _Raw("data.table")
    lines.append(f"mlp = {_call('xpmlp.MLP', (sizes, activation), network)}")
    if settings.slip:
        penalty = {"l1": settings.l1, "l2": settings.l2}
        lines.append(f"mlp.penalty = {_call('SlippedPenalty', (), penalty)}")
    lines.append(f"optimizer = {_optimizer(settings)}")
    fit = fit_arguments(settings, problem) | {"optimizer": _Raw("optimizer")}
    if fit["validation_data"] is not None:
        fit["validation_data"] = _Raw("(data.X_test, data.y_test)")
    lines.append(f"history = {_call('mlp.fit', (_Raw('data.X'), _Raw('data.y')), fit)}")
    lines.append('print("loss of the last epoch:", history["loss"][-1])')
    if problem.held_out is not None:
        lines.append("print(mlp.evaluate(data.X_test, data.y_test))")
    return "\n".join(lines) + "\n"


class _Raw(str):
    """A piece of code, which stands as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _optimizer(settings: Settings) -> str:
    named = optimizer_arguments(settings)
    rate = named.pop("learning_rate")
    if settings.schedule != "constant":
        rate = _Raw(f"xpmlp.schedules.{type(rate).__name__}({settings.learning_rate!r})")
    return _call(f"xpmlp.{OPTIMIZERS[settings.optimizer].__name__}", (rate,), named)


def _written(value: Any) -> str:
    """Write a value; texts in double quotes, where that needs no escapes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    plain = type(value) is str and value.isprintable() and not {'"', "\\"} & {*value}
    return f'"{value}"' if plain else repr(value)


def _call(name: str, places: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Write a call, in one line if it fits."""
    parts = [*map(_written, places), *(f"{key}={_written(v)}" for key, v in named.items())]
    if len(line := f"{name}({', '.join(parts)})") <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), ")"])
