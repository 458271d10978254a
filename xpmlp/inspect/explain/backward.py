"""The backward pass: the chain rule from the loss to every parameter, layer by layer."""

from collections.abc import Mapping
from itertools import groupby, pairwise

import numpy as np

from xpmlp.inspect.explain import formulas
from xpmlp.inspect.explain.contents import Quantity, Section
from xpmlp.inspect.explain.forward import activation_of, normalizes
from xpmlp.inspect.explain.stages import Stage, Walk

Differences = Mapping[str, np.ndarray]


def backward(walk: Walk, differences: Differences) -> list[Section]:
    """Return a section for each layer, the last one first.

    ``differences`` are the finite differences of the loss by each parameter.
    """
    sections = []
    entering: list[Quantity] = [_of_loss(walk)]
    rules: list[str] = []
    for number, group in groupby(reversed(walk.stages), key=lambda stage: stage.number):
        stages = list(group)
        if not any(stage.name in walk.gradients for stage in stages):
            continue  # dropout of the inputs: nothing before it has parameters
        found, path = entering, []
        entering, chains = [], []
        for stage in stages:
            path.append(stage.name)
            found += _local(walk, stage)
            for name, symbol in stage.parameters().items():
                found += _parameter(walk, stage, name, symbol, differences[name])
                chains.append(_chain([*path, symbol]))
            (entering if stage.kind == "dense" else found).extend(_through(walk, stage))
        sections.append(Section(f"Backward: layer {number}", tuple(found), (*rules, *chains)))
        rules = [q.text for q in entering if q.name.startswith("dLoss/")]
    return sections


def _chain(path: list[str]) -> str:
    """Spell the chain rule along names: dLoss/dW2 = dLoss/dh2 · dh2/dz2 · dz2/dW2."""
    factors = [f"dLoss/d{path[0]}"]
    factors += [f"d{a}/d{b}" for a, b in pairwise(path)]
    return f"dLoss/d{path[-1]} = {' · '.join(factors)}"


def _of_loss(walk: Walk) -> Quantity:
    formula = formulas.loss(walk.mlp.task.loss, walk.output)[1]
    if walk.examples > 1:
        formula = f"1/{walk.examples} ({formula})"
    return Quantity(f"dLoss/d{walk.output}", formula, walk.gradients[walk.output])


def _local(walk: Walk, stage: Stage) -> list[Quantity]:
    """Return the derivative of a stage's output by its weights, or else by its input."""
    h, z = stage.name, stage.source
    if stage.kind == "dense":
        W = next(iter(stage.parameters().values()))
        return [Quantity(f"d{h}/d{W}", z, walk.values[z])]
    if stage.kind != "activation":
        return []
    formula = formulas.activation(activation_of(walk, stage.number).name, z, h)[1]
    if not _mixes(walk, stage):
        ones = np.ones_like(walk.values[h])
        return [Quantity(f"d{h}/d{z}", formula, walk.again(stage, ones)[1])]
    units = np.eye(walk.values[h].shape[1])
    rows = [walk.again(stage, np.broadcast_to(u, walk.values[h].shape).copy())[1] for u in units]
    note = "a matrix for each example: its row i is the derivative of output i"
    return [Quantity(f"d{h}/d{z}", formula, np.stack(rows, axis=1), note)]


def _mixes(walk: Walk, stage: Stage) -> bool:
    """Whether each output of an activation depends on all inputs of its row, as in softmax."""
    return activation_of(walk, stage.number).vjp is not None


def _parameter(
    walk: Walk, stage: Stage, name: str, symbol: str, difference: np.ndarray
) -> list[Quantity]:
    """Return the gradient of a parameter, with its finite difference."""
    assert stage.record is not None
    total, dz = walk.trace.gradient[name], f"dLoss/d{stage.name}"
    formula = {
        "W": f"(d{stage.name}/d{symbol})ᵀ {dz}",
        "b": f"Σᵢ {dz}",
        "γ": f"Σᵢ {dz} ⊙ u{stage.number}",
        "β": f"Σᵢ {dz}",
    }.get(symbol[0], f"back through {stage.layer.name} from {dz}")
    if walk.examples == 1:
        formula = formula.removeprefix("Σᵢ ")
    gradient = f"dLoss/d{symbol}"
    penalty = walk.penalty
    if name not in walk.mlp.network.weights or penalty.is_zero:
        return [Quantity(gradient, formula, total, difference=difference)]
    slope = formulas.penalty(penalty)[1].format(W=symbol)
    note = "of the loss without the penalty"
    of_data = Quantity(f"dE/d{symbol}", formula, stage.record.grads[name], note)
    of_penalty = Quantity(f"dR/d{symbol}", slope, _penalty_gradient(walk, name))
    both = f"{of_data.name} + {of_penalty.name}"
    return [of_data, of_penalty, Quantity(gradient, both, total, difference=difference)]


def _penalty_gradient(walk: Walk, name: str) -> np.ndarray:
    xp = walk.mlp.backend.xp
    W = walk.mlp.network.layout.views(xp, walk.mlp.weights.flat)[name]
    return walk.host(walk.penalty.add_gradient(xp, W, xp.zeros_like(W)))


def _through(walk: Walk, stage: Stage) -> list[Quantity]:
    """Return the gradient by a stage's input, if anything before it needs that."""
    x, dy = stage.source, f"dLoss/d{stage.name}"
    if x not in walk.gradients:
        return []
    found, k = [], stage.number
    if stage.kind == "dense":
        W = next(iter(stage.parameters()))
        found.append(Quantity(f"d{stage.name}/d{x}", f"W{k}", walk.mlp.parameters[W]))
        formula = f"{dy} (d{stage.name}/d{x})ᵀ"
    elif stage.kind == "activation":
        mixes, local = _mixes(walk, stage), f"d{stage.name}/d{x}"
        formula = f"{dy} · {local}" if mixes else f"{dy} ⊙ {local}"
    elif stage.kind == "residual":
        formula = dy
    elif stage.kind == "dropout":
        formula = f"{dy} ⊙ m{k}"
    elif normalizes(walk, stage):
        formula = _through_normalization(walk, stage)
    else:
        formula = f"back through {stage.layer.name} from {dy}"
    for block in walk.stages:
        if block.skipped == x and stage is _first_of(walk, block):
            formula = f"dLoss/d{block.name} + {formula}"  # the skip connection
    return [*found, Quantity(f"dLoss/d{x}", formula, walk.gradients[x])]


def _through_normalization(walk: Walk, stage: Stage) -> str:
    k, architecture = stage.number, walk.mlp.network.architecture
    if architecture.normalization == "batch" and not walk.training:
        return f"dLoss/dn{k} ⊙ γ{k}/√(σ² + ε)"
    return f"(v − mean(v) − u{k} ⊙ mean(v ⊙ u{k}))/√(σ² + ε), v = dLoss/dn{k} ⊙ γ{k}"


def _first_of(walk: Walk, block: Stage) -> Stage:
    return next(s for s in walk.stages if s.source == block.skipped)
