"""A network as a table."""

from collections.abc import Mapping
from itertools import groupby
from math import prod
from typing import Any

from xpmlp.model.base import Model
from xpmlp.model.card import card
from xpmlp.show.facts import Rows, as_html, as_text
from xpmlp.show.frames import data_frame


def rounding(mlp: Model) -> str:
    """Describe what matrix products are rounded to; empty for float32."""
    asked, done = mlp.precision, mlp.backend.precision
    if asked == "float32":
        return ""
    instead = "" if done == asked else f" (in {done} on {mlp.backend.device})"
    return f", matrix products in {asked}{instead}"


def overview(mlp: Model) -> str:
    """Return what a model is in a few lines."""
    return as_text(_title(mlp), _facts(mlp))


def overview_html(mlp: Model) -> str:
    """Return the same for a notebook, with the table of the layers."""
    return as_html(_title(mlp), _facts(mlp), _layers(mlp))


def _title(mlp: Model) -> str:
    precision = "" if mlp.precision == "float32" else f", precision={mlp.precision!r}"
    return f"MLP({list(mlp.sizes)}, backend={mlp.backend.name!r}, dtype={mlp.dtype!r}{precision})"


def _facts(mlp: Model) -> Rows:
    """Return rows of a name and a text."""
    hidden = [name for name, _ in groupby(a.name for a in mlp.network.architecture.activations)]
    trained = f"{mlp.epochs_trained} epoch{'s' * (mlp.epochs_trained != 1)}"
    if mlp.progress is not None and mlp.epochs_trained:
        history = mlp.progress.history
        trained += f", {sum(history['seconds']):.1f} s, loss {history['loss'][-1]:.4g}"
    rows = {
        "activation": ", ".join(hidden),
        "loss": _loss(mlp),
        "networks": networks(mlp),
        "parameters": f"{mlp.network.layout.count:,}",
        "trained": trained if mlp.epochs_trained else "not yet",
    }
    return [(name, text) for name, text in rows.items() if text]


def networks(mlp: Model) -> str:
    """Describe how many networks there are, and what they share; empty for one."""
    members = mlp.network.members
    if members is None:
        return ""
    shared = {
        "none": "nothing",
        "mini": "all but a factor of each input",
        "full": "weight matrices",
    }
    return f"{members.count}, which share {shared[members.sharing]}"


def _loss(mlp: Model) -> str:
    """Return the loss, and the activation of the output that belongs to it or was asked for."""
    task = mlp.known_task
    if task is None:
        return "inferred from the targets"
    return f"{task.loss.name}, output {(task.output or task.link).name}"


HEAD = ("layer", "output", "parameters", "computes")


def layers(mlp: Model) -> list[tuple[str, str, int, str]]:
    """Return a row for each layer: name, shape of the output, parameters, and what it computes."""
    rows = []
    width = mlp.sizes[0]
    for layer in mlp.network.layers:
        W = next((s[-1] for name, s in layer.shapes.items() if name.endswith(".W")), width)
        width = layer.width or W
        count = sum(map(prod, layer.shapes.values()))
        shape = (*map(str, mlp.network.networks), "n", str(width))
        rows.append((layer.name, f"({', '.join(shape)})", count, layer.formula))
    return rows


def _layers(mlp: Model) -> list[tuple[str, str, str, str]]:
    """Return the same as text, its head first."""
    rows = [(name, output, f"{n:,}" if n else "", does) for name, output, n, does in layers(mlp)]
    return [HEAD, *rows]


def summary(mlp: Model) -> str:
    """Return a table of the layers, with output shapes, parameters, formulas and totals."""
    rows = _layers(mlp)
    a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [f"{w:<{a}}  {x:<{b}}  {y:>{c}}  {z}".rstrip() for w, x, y, z in rows]
    return "\n".join(
        [
            *lines,
            f"{mlp.network.layout.count:,} parameters, {mlp.dtype}{rounding(mlp)}",
            *([f"networks: {networks(mlp)}"] if mlp.network.members else []),
            f"loss: {_loss(mlp)}",
            *([] if mlp.table is None else ["", mlp.table.summary()]),
            f"backend: {mlp.backend.name} on {mlp.backend.device}",
        ]
    )


class Described(Model):
    """A model that says what it is: as text, as a table in notebooks, as a data frame."""

    def summary(self) -> str:
        """Return the layers as text: output shape, parameters, and what each computes.

        Examples
        --------
        >>> print(xpmlp.MLP([2, 4, 1], targets="values", backend="numpy").summary())
        layer        output  parameters  computes
        dense1       (n, 4)          12  z = x W + b
        activation1  (n, 4)              h = relu(z)
        dense2       (n, 1)           5  z = x W + b
        17 parameters, float32
        loss: mse, output identity
        backend: numpy on cpu
        """
        return summary(self)

    def summary_frame(self, library: str | None = None) -> Any:
        """Return the layers as a data frame: layer, output, parameters, computes.

        Parameters
        ----------
        library : {"pandas", "polars"}, optional
            By default pandas, or polars where pandas is not installed.

        Raises
        ------
        InvalidValueError
            For another library.
        MissingExtraError
            If it is not installed.

        Examples
        --------
        >>> frame = xpmlp.MLP([2, 4, 1], backend="numpy").summary_frame()
        >>> dict(zip(frame["layer"], frame["parameters"], strict=True))
        {'dense1': 12, 'activation1': 0, 'dense2': 5}
        """
        columns = dict(zip(HEAD, map(list, zip(*layers(self), strict=True)), strict=True))
        return data_frame(columns, library, "summary_frame")

    def card(
        self,
        title: str = "Model card",
        path: str = "model.xpmlp",
        results: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a model card: what the model is and how it was made, as Markdown.

        It has the layers, the data's shape, columns and classes, the epochs, the optimizer, the
        metrics of the last epoch, the seed, versions, and how to load the model. A model file does
        not hold the history, so write the card after ``fit``, or give ``results``.

        Parameters
        ----------
        title : str
        path : str
            The file to which the model is saved.
        results : mapping of str to number or str, optional
            What else to show: ``mlp.evaluate(X_test, y_test)``.

        Examples
        --------
        >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
        >>> history = mlp.fit(points.X, points.y, epochs=5)
        >>> text = mlp.card("XOR", results={"test accuracy": 0.97})
        >>> print(text.partition(",")[0])
        # XOR
        <BLANKLINE>
        A multilayer perceptron that predicts which of 2 classes it is
        """
        return card(self, layers(self), title, path, results)

    def __repr__(self) -> str:
        return overview(self)

    def _repr_html_(self) -> str:
        return overview_html(self)
