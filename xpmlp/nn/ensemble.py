"""Many networks as one: the layers of one network, on arrays with one more axis in front.

A layer's formula holds for the last two axes, rows and units. So ``x @ W + b`` with x (k, n, in),
W (k, in, out) and b (k, 1, out) is k layers at once, and nothing is written twice. What networks
share has no axis in front: their gradients add up.

==========  ====================================  ==========================================
sharing     each network has                      all share
==========  ====================================  ==========================================
``none``    all its parameters, its seed, and so  nothing
            its row order and dropout
``mini``    a factor of each input                everything else; one row order
``full``    per layer: factors of the inputs and  the weight matrices, gains and biases of
            of the units, and a bias              normalizations; one row order
==========  ====================================  ==========================================

Losses and metrics are computed by rows, and rows know nothing of networks: they see those of all
networks one after another, as k · n rows.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from xpmlp.errors import InvalidValueError, unknown_name
from xpmlp.nn.functions import Array, log_softmax, softplus
from xpmlp.nn.layers import Backward, Grads, Layer, Params, Pass
from xpmlp.nn.tabular import of_shared, scale

SHARING = ("none", "mini", "full")


@dataclass(frozen=True)
class Members:
    """How many networks there are, and what they share.

    Attributes
    ----------
    count : int
    sharing : str
        One of ``SHARING``.
    """

    count: int
    sharing: str = "none"

    @classmethod
    def make(cls, ensemble: Any, sharing: Any) -> "Members | None":
        """Check the arguments of ``MLP``; None for one network without an axis in front."""
        if sharing not in SHARING:
            raise unknown_name("sharing", sharing, SHARING)
        if ensemble is None:
            if sharing != "none":
                raise InvalidValueError(
                    f"sharing: found {sharing!r} without ensemble; say how many networks share: "
                    f"MLP(..., ensemble=32, sharing={sharing!r})"
                )
            return None
        if not isinstance(ensemble, Integral) or isinstance(ensemble, bool) or ensemble < 1:
            raise InvalidValueError(
                f"ensemble: found {ensemble!r}; expected how many networks, a whole number from 1, "
                "or None for one network without an axis in front"
            )
        return cls(int(ensemble), sharing)

    @property
    def independent(self) -> bool:
        """Whether each network is as it would be alone."""
        return self.sharing == "none"

    @property
    def front(self) -> tuple[int, ...]:
        """The axis in front of weight matrices."""
        return (self.count,) if self.independent else ()


# Layers


def per_network(layer: Layer, members: Members | None) -> Layer:
    """Return a layer whose parameters have an axis in front, and its running statistics.

    Of networks that share weights only the statistics have it.
    """
    if members is None:
        return layer
    front = (members.count,)
    return layer._replace(
        shapes={name: (*members.front, *shape) for name, shape in layer.shapes.items()},
        statistics={name: (*front, *shape) for name, shape in layer.statistics.items()},
    )


def shift(name: str, b: str, count: int, units: int) -> Layer:
    """y = x + b with a bias of each unit for each network, b (k, out); db sums dy over the rows."""

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            return dy if need_dx else None, {b: ops.xp.sum(dy, axis=-2)}

        return x + p[b][:, None, :], backward

    return Layer(name, forward, {b: (count, units)}, {}, "z = z + b")


def adapted(layer: Layer, count: int, n_in: int, n_out: int, bias: bool) -> list[Layer]:
    """Return a dense layer without bias, whose W networks share, with what each has of its own.

    z = s · ((r · x) W) + b with r (k, in), s and b (k, out) (Wen et al. 2020).
    """
    name = layer.name
    layers = [
        scale(f"{name}_in", f"{name}.r", (count, n_in), "x = r · x"),
        layer,
        scale(f"{name}_out", f"{name}.s", (count, n_out), "z = s · z"),
    ]
    return [*layers, shift(f"{name}_bias", f"{name}.b", count, n_out)] if bias else layers


def with_factors(layer: Layer, W: str, b: str, r: str) -> Layer:
    """Return k dense layers, whose W and b are one, with a factor of each input for each network.

    (r · x) W is x (diag(r) W): the k matrices diag(rₖ) W are made first, and then these are the
    layers of networks that share nothing. So the networks' inputs stay one array. With dWₖ the
    gradient of the k-th matrix, dW = Σₖ diag(rₖ) dWₖ; drₖᵢ = Σⱼ Wᵢⱼ dWₖᵢⱼ; db = Σₖ dbₖ; and dx is
    the sum of the networks', as they share x.

    Parameters
    ----------
    layer : Layer
        A dense layer of k networks, or one joined with what follows it.
    W, b, r : str
        Names of the parameters.
    """

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp, shared, factors = ops.xp, p[W], p[r][:, :, None]
        own = {W: factors * shared}
        if b in layer.shapes:
            own[b] = p[b] + xp.zeros_like(factors[:, :1, 0])
        # The gradient of each network's matrix has no place in the flat buffer.
        y, inner = layer.forward(ops, own, x, replace(run, grad={}))

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dx, grads = inner(dy, need_dx)
            grads[r] = xp.sum(grads[W] * shared, axis=-1)
            grads[W] = xp.sum(grads[W] * factors, axis=0)
            if b in grads:
                grads[b] = xp.sum(grads[b], axis=0)
            return None if dx is None else of_shared(xp, dx, x), grads

        return y, backward

    def wrapped(join: Callable[..., Layer] | None) -> Callable[..., Layer] | None:
        return None if join is None else lambda *how: with_factors(join(*how), W, b, r)

    shapes = {r: layer.shapes[W][:2], W: layer.shapes[W][1:]}
    if b in layer.shapes:
        shapes[b] = layer.shapes[b][1:]
    return layer._replace(
        forward=forward,
        shapes=shapes,
        formula=layer.formula.replace("x W", "(r · x) W"),
        initial={r: 1.0},
        activated=wrapped(layer.activated),
        dropped=wrapped(layer.dropped),
    )


FIRST_FACTORS = "dense1.r"
"""Factors that are drawn as −1 or 1, so that networks differ; the others begin at 1
(Gorishniy et al. 2025, section 3.3)."""


# A step of all networks


def gather_batch(
    ops: Any, members: Members, data: Any, rows: Array, dtype: Any
) -> tuple[Array, Array, Array | None]:
    """The batch of each network, from ``ops.gather_batch``.

    Parameters
    ----------
    rows : Array of int32, shape (batch,) or (k, batch)
        The same for all networks, or of each.

    Returns
    -------
    x : Array, shape (batch, features) or (k, batch, features)
    y : Array, shape (k · batch,) or (k · batch, outputs)
    weight : Array, shape (k, batch), or None
    """
    xp, k = ops.xp, members.count
    flat = rows if rows.ndim == 1 else xp.reshape(rows, (-1,))
    x, y, weight = ops.gather_batch(
        data.X, data.y, data.weight, flat, data.shift, data.scale, dtype
    )
    if rows.ndim > 1:
        x = xp.reshape(x, (*rows.shape, x.shape[-1]))
    else:
        y = _repeated(ops, y, k)
        weight = None if weight is None else _repeated(ops, weight, k)
    return x, y, None if weight is None else xp.reshape(weight, (k, -1))


def _repeated(ops: Any, rows: Array, k: int) -> Array:
    """Return rows k times, one after another: added to 0, since not every step may concatenate."""
    zeros = ops.xp.zeros((k, *(1 for _ in rows.shape)), dtype=rows.dtype, device=ops.device)
    return ops.xp.reshape(zeros + rows[None, ...], (-1, *rows.shape[1:]))


def assess(
    ops: Any, members: Members, loss: Any, metric: Any, z: Array, y: Array, weight: Array | None
) -> tuple[Array, Array, Array | None]:
    """Return the loss of each network, the gradient, and the metric by rows, from the outputs.

    What is minimized is the mean of the networks' losses, never the loss of their mean, which
    would make them one network. Those that share nothing have each its own loss to minimize: its
    gradient does not depend on how many there are.

    Parameters
    ----------
    z : Array, shape (k, n, outputs)
    y, weight
        As ``gather_batch`` returns them.

    Returns
    -------
    value : Array, shape (k,)
    dz : Array, shape (k, n, outputs)
    score : Array, shape (k, n), or None
    """
    xp, (k, n, outputs) = ops.xp, z.shape
    flat = xp.reshape(z, (k * n, outputs))
    rows, dz = loss(ops, flat, y)
    score = None if metric is None else xp.reshape(metric.rows(ops, flat, y), (k, n))
    value, dz = ops.batch_mean(xp.reshape(rows, (k, n)), xp.reshape(dz, (k, n, outputs)), weight)
    return value, dz if members.independent else dz * (1.0 / k), score


# Predictions


def combined(ops: Any, loss: Any, z: Array) -> Array:
    """Return outputs whose prediction is the mean of the networks' predictions.

    Of logits that is the logarithm of the mean probability, so that losses, metrics and links
    are computed from it as from one network's outputs: softmax(ln p) is p. Losses of several
    outputs for each target have a method ``joined``.

    Parameters
    ----------
    ops : Ops
    loss : Loss
    z : Array, shape (k, n, outputs)

    Returns
    -------
    Array, shape (n, outputs)
    """
    xp, link = ops.xp, loss.link
    if loss.predicts != "points":
        made: Array = loss.joined(ops, z)
        return made
    if link == "softmax":
        return log_mean_exp(xp, log_softmax(xp, z))
    if link == "sigmoid":  # the logit is ln p − ln(1 − p)
        return log_mean_exp(xp, -softplus(xp, -z)) - log_mean_exp(xp, -softplus(xp, z))
    if link == "exp":
        return log_mean_exp(xp, z)
    return xp.mean(z, axis=0)


def can_combine(loss: Any) -> bool:
    """Whether it is known how to."""
    return loss.link in LINKS if loss.predicts == "points" else hasattr(loss, "joined")


def log_mean_exp(xp: Any, z: Array) -> Array:
    """ln(Σₖ exp(zₖ)/k) over the first axis, shifted by its maximum."""
    top = xp.max(z, axis=0)
    return top + xp.log(xp.mean(xp.exp(z - top), axis=0))


LINKS = ("softmax", "sigmoid", "exp", "identity")
"""The links whose predictions can be combined."""


def is_own(members: Members, name: str, names: Container[str]) -> bool:
    """Whether each network has its own of a parameter or statistic, among these names."""
    layer, _, kind = name.rpartition(".")
    if members.independent or kind in ("r", "s", "mean", "var"):
        return True
    return kind == "b" and f"{layer}.s" in names  # a norm's bias is shared


def member_values(members: Members, i: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return network i's parameters and statistics as those of a network alone.

    Factors become part of the weights: s · ((r · x) W) is x (diag(r) W diag(s)).

    Parameters
    ----------
    values : mapping of str to ndarray
        Of all networks, by name.
    """
    if members.independent:
        return {name: value[i] for name, value in values.items()}
    made: dict[str, Any] = {}
    for name, value in values.items():
        layer, _, kind = name.rpartition(".")
        if kind == "W":
            r, s = values.get(f"{layer}.r"), values.get(f"{layer}.s")
            value = value if r is None else r[i][:, None] * value
            made[name] = value if s is None else value * s[i]
        elif kind not in ("r", "s"):
            made[name] = value[i] if is_own(members, name, values) else value
    return made
