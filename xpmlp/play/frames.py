"""What the page draws of a run: a JSON head, then arrays, as bytes."""

import json
from math import isfinite
from typing import Any

import numpy as np

from xpmlp.mlp import MLP
from xpmlp.model.predict import inputs
from xpmlp.nn.layers import Layer, Pass, map_layers, watch
from xpmlp.nn.ops import scaled
from xpmlp.play.points import Problem
from xpmlp.play.run import Run, Snapshot

Array = Any

SIDE, UNIT_SIDE = 48, 24
"""Places along each edge of the plane, for the output and for each unit."""

ROWS = 128
"""Training rows of which the histogram of gradients is made."""

BINS = np.linspace(-8.0, 2.0, 21)
"""Edges of its bins, in powers of ten."""


def number(value: Any) -> float | None:
    """Return a number as JSON takes it: None for NaN and infinity."""
    return float(value) if value is not None and isfinite(value) else None


class Viewer:
    """Looks at the snapshots of one run; what does not change is computed once."""

    def __init__(self, run: Run) -> None:
        self.run, self.mlp, problem = run, run.viewer, run.problem
        self.plane = problem.plane
        if self.plane is not None:
            self.grid = self.plane.grid(SIDE)
            self.unit_grid = first_inputs(self.mlp, self.plane.grid(UNIT_SIDE))
        self.values = (float(problem.y.min()), float(problem.y.max()))
        self.drawn: tuple[int, dict[str, Any], bytes] = (0, {}, b"")

    def look_at(self, snapshot: Snapshot) -> MLP:
        """Give the viewer's model the weights of a snapshot; the caller holds ``run.looking``."""
        weights = self.mlp.weights
        weights.flat, weights.statistics = snapshot.flat, snapshot.statistics
        return self.mlp

    def frame(self, snapshot: Snapshot, after: int) -> bytes:
        """Return a frame, with the epochs that a page with the frame ``after`` does not know."""
        with self.run.looking:
            if self.drawn[0] != snapshot.number:
                self.look_at(snapshot)
                with np.errstate(all="ignore"):
                    arrays = self.arrays()
                    head = self.head(snapshot) | {"arrays": [about for about, _ in arrays]}
                self.drawn = snapshot.number, head, b"".join(data for _, data in arrays)
            _, head, data = self.drawn
        text = json.dumps(head | {"history": self.history(snapshot, after)}, allow_nan=False)
        packed = text.encode()
        packed += b" " * (-(4 + len(packed)) % 4)
        return len(packed).to_bytes(4, "little") + packed + data

    def history(self, snapshot: Snapshot, after: int) -> dict[str, Any]:
        """Return losses of the epochs since a frame."""
        run = self.run
        known = run.known
        start, stop = known.get(after, 0), known.get(snapshot.number, 0)
        loss, held = (run.history.get(name, [])[start:stop] for name in ("loss", "val_loss"))
        return {"since": start, "train": [*map(number, loss)], "test": [*map(number, held)]}

    def head(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the numbers of a frame."""
        metric = self.mlp.task.metric
        name = "" if metric is None else metric.name
        train, test = self.measured(snapshot)
        return {
            "frame": snapshot.number,
            **short(self.run, snapshot),
            "loss": {"train": number(train.get("loss")), "test": number(test.get("loss"))},
            "score": {
                "name": name,
                "train": number(train.get(name)),
                "test": number(test.get(name)),
            },
            "rate": number(snapshot.rate),
        }

    def measured(self, snapshot: Snapshot) -> tuple[dict[str, float], dict[str, float]]:
        """Return loss and score on training and test rows: the epoch's, or of these weights."""
        run, problem = self.run, self.run.problem
        if snapshot.epoch and not snapshot.step:
            known = {n: v[snapshot.epoch - 1] for n, v in run.history.items() if len(v)}
            held = {n.removeprefix("val_"): v for n, v in known.items() if n.startswith("val_")}
            return known, held
        held = {} if problem.held_out is None else self.mlp.evaluate(*problem.held_out)
        return self.mlp.evaluate(problem.X, problem.y), held

    def arrays(self) -> list[tuple[dict[str, Any], bytes]]:
        """Return each array's description and its bytes."""
        made = []
        if self.plane is not None:
            made += self.boundary()
            for k, units in enumerate(activations(self.mlp, self.unit_grid)):
                shown = units.T.reshape(-1, UNIT_SIDE, UNIT_SIDE)
                made.append(shades(f"units:{k}", shown, *ends(shown)))
        parameters = self.mlp.parameters
        for k in range(len(self.mlp.sizes) - 1):
            for name, letter in (("weights", "W"), ("biases", "b")):
                if (values := parameters.get(f"dense{k + 1}.{letter}")) is not None:
                    made.append(floats(f"{name}:{k}", values))
        made.append(floats("gradients", self.gradients()))
        return sorted(made, key=lambda array: array[0]["dtype"])  # four-byte numbers first

    def boundary(self) -> list[tuple[dict[str, Any], bytes]]:
        """Return what the network says all over the plane."""
        shape, classes = (SIDE, SIDE), self.run.problem.classes
        if classes is None:
            return [shades("boundary", self.mlp.predict(self.grid).reshape(shape), *self.values)]
        chances = self.mlp.predict_proba(self.grid)
        if len(classes) == 2:
            second = 0.5 + 0.5 * (chances[:, 1] - chances[:, 0])
            return [shades("boundary", second.reshape(shape), 0.0, 1.0)]
        best = chances.argmax(axis=1).astype(np.uint8).reshape(shape)
        sure = chances.max(axis=1).reshape(shape)
        about = {"name": "boundary", "dtype": "u1", "shape": [*shape], "range": [0, 255]}
        return [(about, best.tobytes()), shades("sure", sure, 0.0, 1.0)]

    def gradients(self) -> Array:
        """Count the gradients of each layer's parameters by their power of ten."""
        X, y = self.run.problem.X[:ROWS], self.run.problem.y[:ROWS]
        (_, found), rows = self.mlp.gradient(X, y), []
        for k in range(len(self.mlp.sizes) - 1):
            own = [g.ravel() for n, g in found.items() if n.startswith(f"dense{k + 1}.")]
            size = np.log10(np.maximum(np.abs(np.concatenate(own)), 1e-300))
            size = np.clip(size[np.isfinite(size)], BINS[0], BINS[-1])
            rows.append(np.histogram(size, BINS)[0])
        return np.array(rows)


def short(run: Run, snapshot: Snapshot) -> dict[str, Any]:
    """Return where a run is."""
    return {
        "run": run.number,
        "status": snapshot.status,
        "epoch": snapshot.epoch,
        "step": snapshot.step,
        "message": snapshot.message,
    }


def state(run: Run) -> dict[str, Any]:
    """Return all that does not change from frame to frame, and where the run is."""
    problem: Problem = run.problem
    plane, points = problem.plane, None
    if plane is not None:
        rows, flags = problem.rows[1], [0] * len(problem.y) + [1] * len(problem.y_test)
        points = {"x": plane.shown.tolist(), "y": rows.tolist(), "test": flags}
    return {
        "settings": run.settings.as_json(),
        **short(run, run.last),
        "task": "values" if problem.classes is None else "classes",
        "classes": list(problem.classes or ()),
        "inputs": list(problem.inputs),
        "sizes": list(run.viewer.sizes),
        "plane": plane and {"x": plane.x, "y": plane.y, "columns": plane.columns},
        "points": points,
        "rows": {"train": len(problem.y), "test": len(problem.y_test)},
        "params": run.viewer.network.layout.count,
    }


def first_inputs(mlp: MLP, X: Array) -> Array:
    """Return rows as the first layer takes them."""
    x = mlp.scaling.applied(inputs(mlp, X), mlp.dtype)
    return scaled(np, x.part(0, x.count), *mlp.scaling.arrays(x, mlp.dtype), mlp.dtype)


def activations(mlp: MLP, x: Array) -> list[Array]:
    """Return the outputs of each hidden layer's activation, shape (n, units)."""
    found: list[Array] = []

    def seen(layer: Layer) -> Layer:
        if not layer.name.startswith("activation"):
            return layer

        def keep(x: Array, y: Array) -> Any:
            found.append(np.asarray(y))
            return lambda *ignored: None

        return watch(layer, keep)

    network, weights = mlp.network, mlp.weights
    run = Pass(statistics=network.statistics.views(np, weights.statistics))
    views = network.layout.views(np, weights.flat)
    map_layers(network.body, seen).forward(mlp.backend.ops, views, x, run)
    return found


def ends(values: Array) -> tuple[float, float]:
    """Return the least and the largest finite value."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def shades(name: str, values: Array, low: float, high: float) -> tuple[dict[str, Any], bytes]:
    """Return values as bytes, 0 for ``low`` and 255 for ``high``."""
    share = (values - low) / ((high - low) or 1.0)
    share = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    about = {"name": name, "dtype": "u1", "shape": [*values.shape], "range": [low, high]}
    return about, np.rint(255 * share).astype(np.uint8).tobytes()


def floats(name: str, values: Array) -> tuple[dict[str, Any], bytes]:
    """Return values as four-byte numbers, least significant byte first."""
    about = {"name": name, "dtype": "f4", "shape": [*values.shape], "range": [*ends(values)]}
    return about, np.ascontiguousarray(values, "<f4").tobytes()
