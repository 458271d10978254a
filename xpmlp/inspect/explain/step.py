"""From a network and examples to an explanation: trace, differentiate, update, assemble."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from xpmlp.arrays.checks import to_host
from xpmlp.errors import flag
from xpmlp.inspect.explain import formulas
from xpmlp.inspect.explain.backward import backward
from xpmlp.inspect.explain.contents import Quantity, Section
from xpmlp.inspect.explain.explanation import Explanation
from xpmlp.inspect.explain.forward import columns, forward, given, normalizes, over_what
from xpmlp.inspect.explain.notation import shown
from xpmlp.inspect.explain.stages import Names, Walk
from xpmlp.inspect.gradcheck import loss_at, moved_loss
from xpmlp.mlp import MLP
from xpmlp.model.backends import on_device
from xpmlp.model.members import refuse_ensemble
from xpmlp.model.tables import transformed
from xpmlp.model.trace import trace
from xpmlp.nn.gradcheck import STEP, differences
from xpmlp.nn.optimizers import SGD, Optimizer
from xpmlp.nn.optimizers import optimizer as find_optimizer
from xpmlp.nn.schedules import BEGIN
from xpmlp.training.prepare import settle
from xpmlp.training.rates import coefficients


@on_device
def explain(
    mlp: MLP,
    X: Any,
    y: Any,
    optimizer: str | Optimizer | None = None,
    *,
    training: bool = False,
    full: bool = False,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Explanation:
    """Show one forward and backward step of a network with every value. The model is not changed.

    Parameters
    ----------
    mlp : MLP
        Trained or not. The task of an untrained one is inferred from y.
    X : array-like, shape (n, inputs), or (inputs,) for one example
        With a ``table``, also a data frame.
    y : array-like
        As for ``MLP.fit``; for one example also without its first axis.
    optimizer : str or Optimizer, optional
        Its first step is shown; the default is ``SGD(0.001)``.
    training : bool
        Whether dropout and batch normalization behave as in training, not as in prediction.
    full : bool
        Whether to show all values of arrays with more than 200. Otherwise only the first and last
        of each axis are shown, as in NumPy, and only for these are finite differences computed.
    features, classes : sequence of str, optional
        Names of the inputs and of the classes; those of the model's table, and those in
        ``mlp.metadata["classes"]``, if omitted.

    Returns
    -------
    Explanation
        ``print`` it, look up a value with ``explanation["dLoss/dW1"].values``, or write
        ``.markdown()`` or ``.html()`` to a file.

    Raises
    ------
    InvalidValueError
        If the data or the names do not fit.

    Examples
    --------
    >>> options = {"targets": "values", "initializer": "zeros", "dtype": "float64"}
    >>> mlp = xpmlp.MLP([2, 1], **options, backend="numpy")
    >>> explanation = xpmlp.explain(mlp, [1.0, 2.0], 3.0, optimizer=xpmlp.SGD(0.1))
    >>> explanation["dLoss/dW1"].text
    'dLoss/dW1 = (dz1/dW1)ᵀ dLoss/dz1'
    >>> explanation["dLoss/dW1"].values.tolist()  # (0 − 3) · (1, 2)
    [[-3.0], [-6.0]]
    >>> explanation["W1*"].values.round(3).tolist()  # 0 − 0.1 · dLoss/dW1
    [[0.3], [0.6]]
    """
    refuse_ensemble(mlp, "explain")
    chosen = SGD(1e-3) if optimizer is None else find_optimizer(optimizer)
    full = flag("full", full)
    x, target = _rows(mlp, X, y)
    if mlp.known_task is None:
        mlp = mlp.copy()
        settle(mlp, x, target)
    traced = trace(mlp, x, target, training=training)
    names = Names.of(mlp, features, classes)
    walk = Walk.of(mlp, traced, training, names)
    differences = finite_differences(mlp, x, target, training, full)
    sections = [given(walk), forward(walk), *backward(walk, differences)]
    sections.append(_update(walk, chosen, x, target))
    if full:
        sections = [
            replace(s, quantities=tuple(replace(q, full=True) for q in s.quantities))
            for s in sections
        ]
    sizes = "-".join(map(str, mlp.sizes))
    title = f"One training step of the network {sizes}, with every number"
    notes = [*_notes(walk, chosen), *_kinks(sections, mlp.dtype)]
    return Explanation(title, tuple(notes), tuple(sections), columns(walk))


def _rows(mlp: MLP, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Bring both to the host; one example becomes a batch of one."""
    if mlp.table is not None:
        X = transformed(mlp.table, X, "float64")
    x, target = to_host(mlp.backend, X, "X"), to_host(mlp.backend, y, "y")
    if x.ndim == 1:
        x = x[None, :]
        several = target.ndim == 1 and len(target) == mlp.sizes[-1] > 1
        target = target[None] if target.ndim == 0 or several else target
    return x, target


def finite_differences(
    mlp: MLP, X: np.ndarray, y: np.ndarray, training: bool, full: bool = True
) -> dict[str, np.ndarray]:
    """Return (Loss(θ + h) − Loss(θ − h))/2h for each parameter θ that is shown, by name.

    The others have NaN: there may be many. Always on NumPy in float64: float32 would round the
    differences away, and a second library checks the first.
    """
    layout, slopes = mlp.network.layout, np.full(mlp.network.layout.size, np.nan)
    used = np.concatenate(
        [
            slot.start
            + np.arange(prod(slot.shape)).reshape(slot.shape)[shown(slot.shape, full)].ravel()
            for slot in layout.slots.values()
        ]
    )
    loss = moved_loss(loss_at(mlp, X, y, training), layout.flatten(mlp.state_dict()), used)
    slopes[used] = differences(loss, len(used))
    return {name: np.array(view) for name, view in layout.views(np, slopes).items()}


def _update(walk: Walk, chosen: Optimizer, X: np.ndarray, y: np.ndarray) -> Section:
    """Return the parameters after the optimizer's first step, and the loss with them."""
    mlp = walk.mlp
    ops, layout = mlp.backend.ops, mlp.network.layout
    grouped = mlp.grouped(chosen)
    before = ops.xp.asarray(mlp.weights.flat, copy=True)  # a fused update may write to it
    gradient = chosen.clip(ops, walk.device(layout.flatten(walk.trace.gradient)))
    moments = tuple(ops.xp.zeros_like(before) for _ in range(chosen.slots))
    scalars, _ = coefficients(grouped, 0, BEGIN)
    after, _ = grouped.update(ops, before, gradient, moments, walk.device(scalars[0]))
    rates = grouped.values(*BEGIN)
    views, found = layout.views(ops.xp, after), []
    for name, symbol in [pair for s in walk.stages for pair in s.parameters().items()]:
        formula, new, note = symbol, views[name], "frozen"
        if name not in grouped.frozen:
            (rate, *_), decays = rates[grouped.members[name]]
            decay, note = getattr(chosen, "weight_decay", 0.0) if decays is None else decays[0], ""
            formula = formulas.update(chosen, rate, decay, symbol, _clips(chosen))
        bounded = {*mlp.network.weights} - grouped.frozen
        if mlp.penalty.max_norm is not None and name in bounded:
            new = mlp.penalty.bound(ops.xp, new)
            note = f"then columns longer than {mlp.penalty.max_norm:g} are scaled to that length"
        views[name] = new
        found.append(Quantity(f"{symbol}*", formula, walk.host(new), note))
    flat = ops.xp.asarray(walk.device(layout.flatten({k: walk.host(v) for k, v in views.items()})))
    loss = trace(mlp, X, y, training=walk.training, params=flat).loss
    found.append(Quantity("Loss*", "", np.asarray(loss), "the loss with the new parameters"))
    return Section("Update", tuple(found))


def _kinks(sections: list[Section], dtype: str) -> list[str]:
    """Name the gradients that differ from the finite difference, and the usual reason."""
    tolerance = 1e-6 if dtype == "float64" else 1e-3
    far = [
        q.name
        for section in sections
        for q in section.quantities
        if q.difference is not None
        and not (q.error or 0.0) <= tolerance * max(1.0, float(np.nanmax(np.abs(q.difference))))
    ]
    if not far:
        return []
    return [
        f"{', '.join(far)} and the finite difference differ. Either a kink, such as that of ReLU "
        "at 0, is within h of this point, and the difference mixes both sides of it; or a custom "
        "derivative is wrong (check it with xpmlp.check_gradient)."
    ]


def _rate(chosen: Optimizer) -> float:
    return float(chosen.rates(*BEGIN)[0])


def _clips(chosen: Optimizer) -> bool:
    return chosen.clip_norm is not None or chosen.clip_value is not None


def _notes(walk: Walk, chosen: Optimizer) -> list[str]:
    """Say what is explained and under which conditions."""
    mlp, n = walk.mlp, walk.examples
    rows = "1 example" if n == 1 else f"the mean over {n} examples"
    notes = [
        f"{mlp.dtype} on {mlp.backend.name} ({mlp.backend.device}); loss {mlp.task.loss.name}, "
        f"{rows}; first step of {chosen.name} at learning rate {_rate(chosen):g}.",
        "Rows are examples, columns units; ⊙ multiplies element by element. The finite "
        f"difference next to a gradient is (Loss(θ + h) − Loss(θ − h))/2h with h = {STEP:g}, "
        "computed on NumPy in float64.",
        *formulas.loss_notes(mlp.task.loss),
    ]
    if not mlp.penalty.is_zero:
        notes.append("The loss is E + R: E is the loss on the data, R the penalty on the weights.")
    if mlp.network.dropouts:
        on = "on, with the mask of the next step" if walk.training else "off, as in prediction"
        notes.append(f"Dropout is {on} (training={walk.training}).")
    if any(normalizes(walk, stage) for stage in walk.stages):
        notes.append(f"Normalization takes mean and variance {over_what(walk)}.")
    if _clips(chosen):
        limits = [("clip_value", chosen.clip_value), ("clip_norm", chosen.clip_norm)]
        named = ", ".join(f"{name}={limit:g}" for name, limit in limits if limit is not None)
        notes.append(f"g is the gradient after clipping ({named}).")
    return notes
