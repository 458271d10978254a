"""Symptoms in data, weights and gradients.

Each is a function ``(course) -> Finding or None``. Thresholds lie between the values of healthy and
sick runs of ``benchmarks/diagnosis.py``; a comment at each threshold gives both.
"""

from math import isfinite

import numpy as np

from xpmlp.inspect.diagnose.course import Course, Finding
from xpmlp.inspect.diagnose.probe import Measurement

_SCALE = (
    "create the model with scaling='standard', or bring each column to mean 0 and standard "
    "deviation 1"
)


def unlike_columns(course: Course) -> Finding | None:
    """Columns in different units: the largest drowns the others (LeCun et al. 1998, 4.3)."""
    reach = course.facts.inputs.reach
    reach = np.where(reach > 0, reach, np.nan)  # constant columns
    if np.isnan(reach).all():
        return None
    # A tenth of the columns may be small, as pixels near the edge of an image are.
    small = float(np.nanquantile(reach, 0.1, method="lower"))
    large = float(np.nanmax(reach))
    if large < 100 * small:  # healthy: at most 3 (pixels); sick: 1500, 30000
        return None
    place = int(np.nanargmax(reach))
    return Finding(
        "columns on different scales",
        f"Input column {place} deviates by up to {large:.3g} from its mean, a tenth of the columns "
        f"by {small:.3g} or less{_constant(course)}.",
        f"Scale the inputs, or the network hardly sees the small columns: {_SCALE}.",
        epoch=0,
    )


def unscaled_inputs(course: Course) -> Finding | None:
    """Inputs far from mean 0 and standard deviation 1, which initializers assume."""
    if unlike_columns(course):
        return None
    inputs = course.facts.inputs
    size = np.sqrt(inputs.mean**2 + inputs.std**2)
    place = int(size.argmax())
    if 0.05 <= size[place] <= 10:  # healthy: 0.6 to 5; sick: 0.002, 100, 1600
        return None
    return Finding(
        "unscaled inputs",
        f"Input column {place} has mean {inputs.mean[place]:.3g} and standard deviation "
        f"{inputs.std[place]:.3g}{_constant(course)}.",
        f"{_SCALE[0].upper()}{_SCALE[1:]}; divide pixels by 255.",
        epoch=0,
    )


def _constant(course: Course) -> str:
    count = int((course.facts.inputs.reach == 0).sum())
    return f" (constant columns: {count})" if count else ""


def unscaled_targets(course: Course) -> Finding | None:
    """Real targets that the output layer takes very long to reach, or that break it."""
    targets = course.facts.targets
    if targets is None:
        return None
    size = np.sqrt(targets.mean**2 + targets.std**2)
    place = int(size.argmax())
    if 0.01 <= size[place] <= 100 or size[place] == 0:  # healthy: 0.7 to 1.5; sick: 660, 6600
        return None
    change = (
        "Create the model with scaling='standard': it scales the targets too, and predictions "
        "come in the original units. If y > 0, training on log(y) works as well."
    )
    return Finding(
        "unscaled targets",
        f"The targets have mean {targets.mean[place]:.3g} and standard deviation "
        f"{targets.std[place]:.3g}.",
        change if course.metric else "Standardize y yourself: only the loss knows its outputs.",
        epoch=0,
    )


def alike(course: Course) -> Finding | None:
    """Units that start equal get equal gradients and stay equal."""
    layer = next((layer for layer in course.first.layers[:-1] if layer.alike), None)
    if layer is None:
        return None
    return Finding(
        "identical units",
        f"All units of {layer.name} start with the same weights, so they get the same gradients "
        "and stay the same.",
        "Initialize the weights at random: initializer='auto'.",
        layer.name,
        0,
    )


def large_weights(course: Course) -> Finding | None:
    """The first loss, which should be near that of a constant guess (ln C for C classes)."""
    if not course.fresh or unscaled_inputs(course) or unlike_columns(course):
        return None
    loss, guess = course.first.loss, course.facts.loss
    # At least 1: targets may vary little compared to the outputs of usual initial weights.
    # healthy: at most 3; sick: 15 and more
    if not loss - guess > 10 * max(abs(guess), 1.0):  # nor if the guess's loss is not known
        return None
    return Finding(
        "initial weights too large",
        f"The loss starts at {loss:.4g}; a constant guess has {guess:.4g}. The outputs are far "
        "too confident before anything is learned.",
        "Use initializer='auto', or normalization='layer'.",
        epoch=0,
    )


def exploding(course: Course) -> Finding | None:
    """Gradients that grow from layer to layer in the backward pass."""
    for seen in (course.first, course.last):
        if seen.backward > 100:  # healthy: at most 11; sick: 130 and more
            return Finding(
                "exploding gradients",
                _ratio(seen),
                "Use smaller initial weights (initializer='auto'), normalization='layer', fewer "
                "layers, or clip_norm=1.0 in the optimizer.",
                seen.layers[0].name,
                seen.epoch,
            )
    return None


def growing(course: Course) -> Finding | None:
    """Gradients that grow from epoch to epoch."""
    before, after = course.first.layers[-1].delta, course.last.layers[-1].delta
    # healthy: at most 1.1; sick: 1e17
    if exploding(course) or (isfinite(after) and after <= 100 * before):
        return None
    return Finding(
        "exploding gradients",
        f"dLoss/dz of the last layer grew from {before:.3g} at the start to {after:.3g} "
        f"{_when(course.last.epoch)}.",
        "Use a smaller learning rate, or clip_norm=1.0 in the optimizer.",
        course.last.layers[-1].name,
        course.last.epoch,
    )


def vanishing(course: Course) -> Finding | None:
    """Gradients that shrink from layer to layer in the backward pass (Glorot and Bengio 2010)."""
    for seen in (course.last, course.first):
        blocked = any(layer.dead == 1 for layer in seen.layers) or any(
            layer.alike for layer in seen.layers[:-1]
        )
        # Adam can overcome it: then the start does not count.
        poor = seen is course.last or not course.learned > 0.5
        if seen.backward < 1e-3 and poor and not blocked:  # healthy: at least 0.3; sick: 1e-4
            return Finding(
                "vanishing gradients",
                _ratio(seen),
                "Use activation='relu' instead of sigmoid, initializer='auto', "
                "normalization='layer', residual=True, or fewer layers.",
                seen.layers[0].name,
                seen.epoch,
            )
    return None


def saturated(course: Course) -> Finding | None:
    """Sigmoids and tanhs at the ends of their range, where the slope is near 0.

    A network that has learned its classes may end that way; one that starts that way learns slowly.
    """
    layer = course.worst("saturated", course.last)
    early = max(course.worst("saturated", seen).saturated for seen in course.measurements[:2])
    # healthy: at most 0.05 early and 0.4 at the end; sick: 0.7 and more
    if layer.saturated <= 0.5 or (early <= 0.5 and course.learned > 0.8):
        return None
    return Finding(
        "saturated units",
        f"{layer.saturated:.0%} of the outputs of {layer.name} ({layer.activation}) are at the "
        f"ends of their range {_when(course.last.epoch)}.",
        "Scale the inputs, or use smaller initial weights (initializer='auto'), a smaller "
        "learning rate, or activation='relu'.",
        layer.name,
        course.last.epoch,
    )


def dead(course: Course) -> Finding | None:
    """Units whose derivative is 0 on every row: they never change again (Lu et al. 2020)."""
    if alike(course):
        return None
    layer = course.worst("dead", course.last)
    if layer.dead < 0.5 or layer.activation in ("sigmoid", "tanh"):
        return None  # healthy: at most 0.3; sick: 0.5 to 1
    return Finding(
        "dead units",
        f"{layer.dead:.0%} of the units of {layer.name} ({layer.activation}) have a derivative "
        f"of 0 on every sampled row {_when(course.last.epoch)}.",
        "Use a smaller learning rate or a warm-up, biases that start at 0, scaled inputs, less "
        "dropout, or activation='leaky_relu'.",
        layer.name,
        course.last.epoch,
    )


def constant(course: Course) -> Finding | None:
    """Outputs that do not depend on the input."""
    targets = course.facts.targets
    scale = 1.0 if targets is None else float(targets.std.max())
    seen = course.last
    if seen.epoch == 0 or not seen.spread < 0.01 * scale:  # healthy: at least 0.1; sick: 1e-3
        return None
    return Finding(
        "constant output",
        f"The output's standard deviation over the sampled rows is {seen.spread:.2g} "
        f"{_when(seen.epoch)}: every input gets nearly the same answer.",
        "Fix the findings above first, if there are any. Otherwise lower l1 or l2, or raise the "
        "learning rate.",
        seen.layers[-1].name,
        seen.epoch,
    )


def _ratio(seen: Measurement) -> str:
    first, last = seen.layers[0].name, seen.layers[-1].name
    factor = f"{seen.backward:.3g} times as large"
    return f"dLoss/dz is {factor} in {first} as in {last} {_when(seen.epoch)}."


def _when(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before the first epoch"
