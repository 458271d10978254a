"""Layers: each is a function that returns its output, and a function for the backward pass.

    y, backward = layer(ops, p, x, ...)
    dx, grads = backward(dy)

Nothing is stored on an object and nothing accumulates: what backward needs, it closes over.
``p`` maps names to arrays and ``grads`` has the same names. Layers never write to an argument.
Shapes: n examples, ``in`` and ``out`` units; gradients are of the batch's loss. The same formulas
hold for k networks at once, whose arrays have one more axis in front: see ``xpmlp.nn.ensemble``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from xpmlp.nn.activations import Activation
from xpmlp.nn.functions import Array, over_rows
from xpmlp.nn.schedules import Schedule

Params = Mapping[str, Array]
Grads = dict[str, Array]
Backward = Callable[..., tuple[Array | None, Grads]]
"""``backward(dy, need_dx=True) -> (dx, grads)``; dx is None where it was not needed."""


@dataclass
class Pass:
    """What a forward pass uses besides its input.

    Attributes
    ----------
    training : bool
        Whether dropout drops units and batch normalization uses the batch's statistics.
    keys : Array of int32, shape (dropout layers, 2), optional
        Random words of this step; (k, dropout layers, 2) of networks that draw on their own.
    statistics : mapping of str to Array
        Running statistics by name, read by batch normalization outside training.
    new_statistics : dict
        Their next values, filled in training.
    grad : mapping of str to Array
        Buffers into which a backend with mutable arrays may write each parameter's gradient.
    """

    training: bool = False
    keys: Array = None
    statistics: Params = field(default_factory=dict)
    new_statistics: Grads = field(default_factory=dict)
    grad: Params = field(default_factory=dict)


class Layer(NamedTuple):
    """A layer of a network.

    Attributes
    ----------
    name : str
        ``"dense1"``; its parameters are ``"dense1.W"`` and so on.
    forward : callable (ops, params, x, run: Pass) -> (y, backward)
    shapes : dict of str to tuple
        Trainable parameters.
    statistics : dict of str to tuple
        Running statistics.
    formula : str
        What it computes, for summaries.
    initial : dict of str to float, or callable (rng, shape) -> ndarray
        Initial values of parameters and statistics, except weight matrices, which are drawn, and
        those that start at 0.
    parts : tuple of Layer
        The layers it is composed of; empty for a leaf.
    compose : callable (list of Layer) -> Layer, optional
        Composes parts in the way this layer does; see ``map_layers``.
    activation : Activation, optional
        The activation that the layer applies, last or alone.
    drops : (float or Schedule, int), optional
        Of a dropout layer: the rate, and its number among the network's dropout layers.
    activated : callable (Activation) -> Layer, optional
        Returns this layer joined with an activation after it; ``chain`` uses it.
    dropped : callable (rate, int) -> Layer, optional
        Returns this layer joined with dropout after it.
    width : int, optional
        Units of its output, where they follow neither from its input nor from its ``W``.
    kept : int
        Numbers that it keeps for each row, besides one for each unit of its output.
    """

    name: str
    forward: Callable[[Any, Params, Array, Pass], tuple[Array, Backward]]
    shapes: Mapping[str, tuple[int, ...]]
    statistics: Mapping[str, tuple[int, ...]]
    formula: str
    initial: Mapping[str, Any] = MappingProxyType({})
    parts: tuple["Layer", ...] = ()
    compose: Callable[[list["Layer"]], "Layer"] | None = None
    activation: Activation | None = None
    drops: tuple[float | Schedule, int] | None = None
    activated: Callable[[Activation], "Layer"] | None = None
    dropped: Callable[[float | Schedule, int], "Layer"] | None = None
    width: int | None = None
    kept: int = 0


def map_layers(layer: Layer, f: Callable[[Layer], Layer], joined: bool = False) -> Layer:
    """Return the same composition with each leaf replaced by ``f(leaf)``, to watch it at work.

    With ``joined``, a dense map and the activation after it are one leaf, as in ``chain``.
    """
    if layer.compose is None:
        # Joined later, it would not be seen.
        return f(layer)._replace(activated=None, dropped=None)
    parts = _activations_joined(list(layer.parts)) if joined else layer.parts
    return layer.compose([map_layers(part, f, joined) for part in parts])


def watch(
    layer: Layer, seen: Callable[[Array, Array], Callable[[Array, Array | None, Grads], None]]
) -> Layer:
    """Return the same layer with calls for an observer.

    The forward pass calls ``seen(x, y)``; the backward pass calls what that returned with
    ``(dy, dx, grads)``.
    """

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        y, inner = layer.forward(ops, p, x, run)
        seen_back = seen(x, y)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dx, grads = inner(dy, need_dx)
            seen_back(dy, dx, grads)
            return dx, grads

        return y, backward

    return layer._replace(forward=forward)


def dense(
    name: str, n_in: int, n_out: int, bias: bool = True, front: tuple[int, ...] = ()
) -> Layer:
    """z = x W + b, with x (n, in), W (in, out), b (out,), z (n, out).

    Since zᵢⱼ = Σₖ xᵢₖ Wₖⱼ + bⱼ, the chain rule gives
    dWₖⱼ = Σᵢ xᵢₖ dzᵢⱼ, that is dW = xᵀ dz (in, out);
    dbⱼ = Σᵢ dzᵢⱼ, the column sums of dz (out,);
    dxᵢₖ = Σⱼ dzᵢⱼ Wₖⱼ, that is dx = dz Wᵀ (n, in).

    ``front`` are axes in front of both: networks of the same layers.
    """
    W, b = f"{name}.W", f"{name}.b"

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        z = ops.dense(x, p[W], p[b] if bias else None)

        def backward(dz: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            out = (run.grad.get(W), run.grad.get(b) if bias else None)
            dx, dW, db = ops.dense_grad(x, p[W], dz, need_dx, out)
            return dx, {W: dW, b: db} if bias else {W: dW}

        return z, backward

    shapes = {W: (*front, n_in, n_out), b: (*front, n_out)} if bias else {W: (*front, n_in, n_out)}
    made = Layer(name, forward, shapes, {}, "z = x W + b" if bias else "z = x W")
    return made._replace(activated=partial(_activated, made, W, b if bias else None))


def _activated(
    dense: Layer,
    W: str,
    b: str | None,
    activation: Activation,
    rate: float | Schedule | None = None,
    index: int = 0,
) -> Layer:
    """h = f(x W + b), and dropout after it: one layer, for backends that fuse them."""

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        z, h = ops.dense_activation(ops, x, p[W], p[b] if b else None, activation)
        y, mask = h, None
        if rate is not None and run.training:
            y, mask = ops.dropout(ops, h, run.keys[..., index, :], _constant(rate))

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            out = (run.grad.get(W), run.grad.get(b) if b else None)
            dx, dW, db = ops.dense_activation_grad(
                ops, x, p[W], z, h, dy, activation, need_dx, out, mask
            )
            return dx, {W: dW, b: db} if b else {W: dW}

        return y, backward

    formula = f"h = {activation.name}(x W + b)"
    made = Layer(dense.name, forward, dense.shapes, {}, formula, activation=activation)
    if rate is None:
        return made._replace(dropped=partial(_activated, dense, W, b, activation))
    return made


def affine(xp: Any, x: Array, W: Array, b: Array | None) -> Array:
    """x W + b; the reference of ``ops.dense``."""
    z = x @ W
    return z if b is None else z + over_rows(b)


def affine_grad(
    xp: Any,
    x: Array,
    W: Array,
    dz: Array,
    need_dx: bool,
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array, Array]:
    """(dz Wᵀ or None, xᵀ dz, column sums of dz); the reference of ``ops.dense_grad``.

    ``out`` has buffers for dW and db. A backend may write there or not: callers use what is
    returned. Networks that share W, with dz of shape (k, n, out), add their gradients up.
    """
    dx = dz @ xp.matrix_transpose(W) if need_dx else None
    if dz.ndim > W.ndim:
        x, dz = (xp.reshape(a, (-1, a.shape[-1])) for a in (x, dz))
    return dx, xp.matrix_transpose(x) @ dz, xp.sum(dz, axis=-2)


def dense_activation(
    ops: Any, x: Array, W: Array, b: Array | None, f: Activation
) -> tuple[Array, Array]:
    """z = x W + b and h = f(z); the reference of ``ops.dense_activation``.

    Where f′ follows from h, a backend may keep h alone, and return it instead of z too.
    """
    z = ops.dense(x, W, b)
    return z, ops.activation(ops, z, f)


def dense_activation_grad(
    ops: Any,
    x: Array,
    W: Array,
    z: Array,
    h: Array,
    dh: Array,
    f: Activation,
    need_dx: bool,
    out: tuple[Array | None, Array | None] = (None, None),
    mask: Any = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of ``dense_activation``: those of the affine map at dz = dh · f′(z).

    With a ``mask`` of ``ops.dropout``, ``dh`` is the gradient after that.
    """
    return ops.dense_grad(x, W, ops.activation_grad(ops, z, h, dh, f, mask), need_dx, out)


def activation(ops: Any, z: Array, f: Activation) -> Array:
    """h = f(z); the reference of ``ops.activation``."""
    return f.function(ops, z)


def activation_grad(
    ops: Any, z: Array, h: Array, dh: Array, f: Activation, mask: Any = None
) -> Array:
    """dz = dh · f′(z), with ``dh`` as above; the reference of ``ops.activation_grad``."""
    if mask is not None:
        dh = ops.dropout_grad(ops, dh, mask)
    return f.backward(ops, z, h, dh)


def activate(name: str, activation: Activation) -> Layer:
    """h = f(z); dz = dh · f′(z)."""

    def forward(ops: Any, p: Params, z: Array, run: Pass) -> tuple[Array, Backward]:
        h = ops.activation(ops, z, activation)

        def backward(dh: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            return ops.activation_grad(ops, z, h, dh, activation) if need_dx else None, {}

        return h, backward

    formula = f"h = {activation.name}(z)"
    return Layer(name, forward, {}, {}, formula, activation=activation)


def dropout(name: str, rate: float | Schedule, index: int) -> Layer:
    """y = x · mask in training, where the mask is 0 with probability ``rate``, else 1/(1 − rate).

    The scaling keeps the expected value, so y = x outside training (Srivastava et al. 2014, in the
    inverted form). ``index`` counts the network's dropout layers: it picks the step's key, which
    has a scheduled rate, too.
    """

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        if not run.training:
            return x, lambda dy, need_dx=True: (dy, {})
        y, mask = ops.dropout(ops, x, run.keys[..., index, :], _constant(rate))

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            return ops.dropout_grad(ops, dy, mask) if need_dx else None, {}

        return y, backward

    share = rate if isinstance(rate, Schedule) else f"{rate:g}"
    return Layer(name, forward, {}, {}, f"y = x · mask, {share} dropped", drops=(rate, index))


def _constant(rate: float | Schedule) -> float | None:
    """Return a rate as operations take it: None for one that comes with each step's key."""
    return None if isinstance(rate, Schedule) else rate


def chain(name: str, layers: list[Layer]) -> Layer:
    """Composition: y = fₘ(… f₂(f₁(x))). Backward walks the same list from the right.

    Without ``need_dx`` the walk stops at the first layer with parameters, and the gradient of
    that layer's input is not computed.
    """
    joined = _joined(layers)
    first = next((i for i, layer in enumerate(joined) if layer.shapes), len(joined))

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        steps: list[Backward] = []
        for layer in joined:
            x, backward = layer.forward(ops, p, x, run)
            steps.append(backward)

        def walk(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            grads: Grads = {}
            for i in range(len(steps) - 1, -1 if need_dx else first - 1, -1):
                dy, new = steps[i](dy, need_dx or i > first)
                grads.update(new)
            return dy if need_dx else None, grads

        return x, walk

    return Layer(
        name,
        forward,
        {k: v for layer in layers for k, v in layer.shapes.items()},
        {k: v for layer in layers for k, v in layer.statistics.items()},
        ", then ".join(layer.formula for layer in layers),
        {k: v for layer in layers for k, v in layer.initial.items()},
        tuple(layers),
        partial(chain, name),
    )


def _joined(layers: list[Layer]) -> list[Layer]:
    """Join each dense map with the activation and the dropout after it into one layer."""
    made: list[Layer] = []
    for layer in _activations_joined(layers):
        if made and made[-1].dropped is not None and layer.drops is not None:
            made[-1] = made[-1].dropped(*layer.drops)
        else:
            made.append(layer)
    return made


def _activations_joined(layers: list[Layer]) -> list[Layer]:
    """Join each dense map with the activation after it."""
    made: list[Layer] = []
    for layer in layers:
        if made and made[-1].activated is not None and layer.activation is not None:
            made[-1] = made[-1].activated(layer.activation)
        else:
            made.append(layer)
    return made


def residual(name: str, inner: Layer) -> Layer:
    """y = x + F(x) (He et al. 2015); dx = dy + F′(x)ᵀ dy. F keeps the width."""

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        fx, inner_backward = inner.forward(ops, p, x, run)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dx, grads = inner_backward(dy, need_dx)
            return dy + dx if need_dx else None, grads

        return x + fx, backward

    return Layer(
        name,
        forward,
        inner.shapes,
        inner.statistics,
        f"y = x + F(x), F: {inner.formula}",
        inner.initial,
        (inner,),
        lambda parts: residual(name, parts[0]),
    )
