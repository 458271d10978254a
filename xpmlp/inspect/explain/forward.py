"""The forward pass: every value from the inputs to the loss."""

from collections.abc import Sequence

import numpy as np

from xpmlp.inspect.explain import formulas
from xpmlp.inspect.explain.contents import Column, Quantity, Section
from xpmlp.inspect.explain.stages import Stage, Walk
from xpmlp.nn.activations import Activation
from xpmlp.show.facts import listed


def given(walk: Walk) -> Section:
    """Return what the step starts from: inputs, targets, and every parameter."""
    scaling = walk.mlp.scaling
    scaled = scaling.shift is not None or scaling.scale is not None
    inputs, names = "the inputs, scaled" if scaled else "the inputs", walk.names
    found = [
        Quantity("X", "", walk.trace.x, _named(inputs, names.features)),
        Quantity("y", "", walk.trace.target, _targets(walk)),
    ]
    values = walk.mlp.parameters
    for stage in walk.stages:
        for name, symbol in stage.parameters().items():
            found.append(Quantity(symbol, "", values[name], f"{name} of the model"))
    return Section("Given", tuple(found))


def _named(note: str, names: Sequence[str]) -> str:
    """Add the names of columns to a remark."""
    return f"{note}: {listed(names)}" if names else note


def _targets(walk: Walk) -> str:
    """Say what the targets are; the classes' names if they are indices."""
    y, classes = walk.trace.target, walk.names.classes
    if classes and y.ndim == 1:
        return _named("the targets", [classes[int(k)] for k in y])
    return _named("the targets", classes if walk.mlp.task.kind != "binary" else ())


def forward(walk: Walk) -> Section:
    """Return every value up to the loss."""
    found: list[Quantity] = []
    for stage in walk.stages:
        found += _inside(walk, stage)
        formula, note = _formula(walk, stage)
        found.append(Quantity(stage.name, formula, walk.values[stage.name], note))
    return Section("Forward", (*found, *_loss(walk)))


def _formula(walk: Walk, stage: Stage) -> tuple[str, str]:
    """Return how a stage's output follows from its input, and a remark."""
    k, x = stage.number, stage.source
    symbols = list(stage.parameters().values())
    if stage.kind == "dense":
        return " + ".join([f"{x} {symbols[0]}", *symbols[1:]]), ""
    if stage.kind == "activation":
        return formulas.activation(activation_of(walk, k).name, x, stage.name)[0], ""
    if stage.kind == "residual":
        return f"{stage.skipped} + {x}", "the block's input is added"
    if stage.kind == "dropout":
        return f"{x} ⊙ m{k}", ""
    if normalizes(walk, stage):
        return f"γ{k} ⊙ u{k} + β{k}", ""
    return f"{stage.layer.name}({x})", stage.layer.formula


def _inside(walk: Walk, stage: Stage) -> list[Quantity]:
    """Return what a stage computes inside: the mask of dropout, the normalized input."""
    k = stage.number
    if stage.kind == "dropout":
        ones = np.ones_like(walk.values[stage.name])
        note = "the mask: 0 for dropped units, 1/(1 − rate) for the others"
        return [Quantity(f"m{k}", "", walk.again(stage, ones)[1], note)]
    if not normalizes(walk, stage):
        return []
    gain, shift = stage.layer.shapes
    x, units = walk.values[stage.name], walk.values[stage.name].shape[1]
    plain = {gain: np.ones(units), shift: np.zeros(units)}
    over = f"μ and σ² {over_what(walk)}, ε = 1e-5"
    formula = f"({stage.source} − μ)/√(σ² + ε)"
    return [Quantity(f"u{k}", formula, walk.again(stage, np.zeros_like(x), plain)[0], over)]


def _loss(walk: Walk) -> list[Quantity]:
    """Return the prediction if the loss has a link, and the loss with its parts."""
    mlp, h, many = walk.mlp, walk.output, walk.examples > 1
    ops, spec, found = mlp.backend.ops, mlp.task.loss, []
    z = walk.device(walk.values[h])
    if spec.link != "identity":
        p = walk.host(mlp.task.link.function(ops, z))
        found.append(
            Quantity(
                "p",
                formulas.activation(spec.link, h, "p")[0],
                p,
                _named("the prediction", outputs(walk)),
            )
        )
    formula, penalized = formulas.loss(spec, h)[0], not walk.penalty.is_zero
    if many:
        rows = walk.host(spec(ops, z, walk.device(walk.trace.target))[0])
        found.append(Quantity("L", formula, rows, "of each example"))
        formula = f"1/{walk.examples} Σᵢ Lᵢ"
    if penalized:
        params = mlp.network.layout.views(ops.xp, mlp.weights.flat)
        value = walk.penalty.value(ops.xp, [params[name] for name in mlp.network.weights])
        note = "the penalty on all weights"
        found.append(Quantity("R", formulas.penalty(walk.penalty)[0], walk.host(value), note))
        formula += " + R"
    return [*found, Quantity("Loss", formula, np.asarray(walk.trace.loss))]


def activation_of(walk: Walk, number: int) -> Activation:
    """Return the activation of a layer, hidden or last, that has one."""
    every = (*walk.mlp.network.architecture.activations, walk.mlp.task.output)
    found = every[number - 1]
    assert found is not None
    return found


def normalizes(walk: Walk, stage: Stage) -> bool:
    """Whether a stage is layer or batch normalization, not a custom layer in their place."""
    kind = walk.mlp.network.architecture.normalization
    return stage.kind == "norm" and kind in ("layer", "batch")


def over_what(walk: Walk) -> str:
    """Say what the normalization takes mean and variance over."""
    if walk.mlp.network.architecture.normalization == "layer":
        return "over the units of each example"
    return "over the batch" if walk.training else "from training, as constants"


def columns(walk: Walk) -> tuple[Column, ...]:
    """Return the columns of the drawing: inputs, the end of each layer, the prediction."""
    ends = {stage.number: stage.name for stage in walk.stages if stage.number}
    found = [Column(name, f"dLoss/d{name}") for name in ends.values()]
    last = "p" if walk.mlp.task.loss.link != "identity" else found[-1].values
    found[-1] = Column(last, found[-1].gradient, outputs(walk))
    return (Column("X", "", walk.names.features), *found)


def outputs(walk: Walk) -> tuple[str, ...]:
    """Return the names of the outputs: a single one is the chance of the second class."""
    classes = walk.names.classes
    return classes if len(classes) == walk.mlp.sizes[-1] else classes[1:]
