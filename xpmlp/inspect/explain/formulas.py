"""Formulas as text; the mathematics itself is in the modules they describe."""

from typing import Any

from xpmlp.nn.losses import Loss, Quantile
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.penalty import Penalty

ACTIVATIONS = {
    "identity": ("{z}", "1"),
    "sign": ("sign({z})", "0"),
    "binary_step": ("1 where {z} > 0, else 0", "0"),
    "sigmoid": ("sigmoid({z}) = 1/(1 + exp(−{z}))", "{h} ⊙ (1 − {h})"),
    "tanh": ("tanh({z})", "1 − {h}²"),
    "relu": ("max({z}, 0)", "1 where {z} > 0, else 0"),
    "leaky_relu": ("{z} where {z} > 0, else 0.01 {z}", "1 where {z} > 0, else 0.01"),
    "elu": ("{z} where {z} > 0, else exp({z}) − 1", "1 where {z} > 0, else {h} + 1"),
    "selu": ("1.0507 {z} where {z} > 0, else 1.7581 (exp({z}) − 1)",
             "1.0507 where {z} > 0, else {h} + 1.7581"),
    "gelu": ("{z} Φ({z})", "Φ({z}) + {z} φ({z})"),
    "gelu_tanh": ("½ {z} (1 + tanh(u)), u = √(2/π) ({z} + 0.044715 {z}³)", "gelu_tanh′({z})"),
    "softplus": ("ln(1 + exp({z}))", "sigmoid({z})"),
    "swish": ("{z} sigmoid({z})", "s + {h} (1 − s), s = sigmoid({z})"),
    "mish": ("{z} tanh(softplus({z}))", "t + {z} s (1 − t²), t = tanh(softplus({z})), "
             "s = sigmoid({z})"),
    "softmax": ("softmax({z}) = exp({z})/Σⱼ exp({z})ⱼ", "∂hᵢ/∂zⱼ = hᵢ (δᵢⱼ − hⱼ)"),
    "exp": ("exp({z})", "{h}"),
}  # fmt: skip


def activation(name: str, z: str, h: str) -> tuple[str, str]:
    """Return the formulas of h = f(z) and of dh/dz; a custom function appears as its name."""
    value, derivative = ACTIVATIONS.get(name, (f"{name}({{z}})", f"{name}′({{z}})"))
    return value.format(z=z, h=h), derivative.format(z=z, h=h)


def loss(spec: Loss, h: str) -> tuple[str, str]:
    """Return the formulas of one example's loss and of its gradient.

    ``h`` is the name of its input: the network's output, or the logits if the loss has a link,
    whose result is then called p.
    """
    smoothed = getattr(spec, "label_smoothing", 0.0)
    y = "t" if smoothed else "y"
    delta, q = getattr(spec, "delta", 1.0), spec.q if isinstance(spec, Quantile) else 0.5
    known = {
        "mse": (f"½ Σⱼ (y − {h})²", f"−(y − {h})"),
        "mae": (f"Σⱼ |{h} − y|", f"sign({h} − y)"),
        "huber": (
            f"Σⱼ (½ e² where |e| < {delta:g}, else {delta:g} (|e| − {0.5 * delta:g})), e = {h} − y",
            f"{h} − y limited to ±{delta:g}",
        ),
        "quantile": (
            f"Σⱼ max({q:g} e, −{1 - q:g} e), e = y − {h}",
            f"−{q:g} where y > {h}, {1 - q:g} where y < {h}",
        ),
        "gaussian": (
            f"½ Σⱼ (s + (y − μ)² exp(−s) + ln 2π), [μ, s] = {h}",
            "[(μ − y) exp(−s), ½ (1 − (y − μ)² exp(−s))]",
        ),
        "quantiles": (
            f"1/m Σⱼₖ max(qₖ e, (qₖ − 1) e), e = y − Qₖ, Qₖ = {h}₀ + Σᵢ softplus({h}ᵢ) to i = k",
            f"1/m Σₖ gₖ at {h}₀, sigmoid({h}ᵢ)/m Σ gₖ from k = i at {h}ᵢ, gₖ = 1(y < Qₖ) − qₖ",
        ),
        "poisson": (f"Σⱼ (p − y {h})", "p − y"),
        "poisson_deviance": ("Σⱼ (y ln(y/p) − y + p)", "p − y"),
        "binary_cross_entropy": (f"−Σⱼ ({y} ln(p) + (1 − {y}) ln(1 − p))", f"p − {y}"),
        "categorical_cross_entropy": (f"−Σⱼ {y} ln(p)", f"p − {y}"),
        "sparse_categorical_cross_entropy": (
            (f"−Σⱼ {y} ln(p)", f"p − {y}") if smoothed else ("−ln(p[y])", "p − one_hot(y)")
        ),
    }
    return known.get(spec.name, (f"{spec.name}({h}, y)", f"{spec.name}′({h}, y)"))


def loss_notes(spec: Loss) -> list[str]:
    """Explain what the formulas of the loss leave out."""
    notes = []
    if spec.link != "identity":
        notes.append(
            f"The loss {spec.name} and its link p = {spec.link}(z) are differentiated together, "
            "because terms cancel: the backward pass starts at z, without dLoss/dp."
        )
    smoothed = getattr(spec, "label_smoothing", 0.0)
    if smoothed:
        notes.append(
            f"t is the target y with a share of {smoothed:g} spread evenly over all classes."
        )
    return notes


def penalty(spec: Penalty) -> tuple[str, str]:
    """Return the formulas of the penalty and of its gradient by a weight matrix {W}."""
    value = [f"{spec.l1:g} Σ |W|"] * bool(spec.l1) + [f"½ · {spec.l2:g} Σ W²"] * bool(spec.l2)
    slope = [f"{spec.l1:g} sign({{W}})"] * bool(spec.l1) + [f"{spec.l2:g} {{W}}"] * bool(spec.l2)
    return " + ".join(value), " + ".join(slope)


def update(optimizer: Optimizer, rate: float, decay: float, W: str, clipped: bool) -> str:
    """Return the formula of an optimizer's first step, before which its state is 0."""
    o: Any = optimizer
    g = "g" if clipped else f"dLoss/d{W}"
    formula = {
        "sgd": "{W} − {a} {g}",
        "momentum": "{W} − {a} v, v = {g}",
        "nesterov": f"{{W}} − {{a}} ({{g}} + {getattr(o, 'momentum', 0):g} v), v = {{g}}",
        "adagrad": "{W} − {a} {g}/(√(s) + ε), s = {g}²",
        "rmsprop": f"{{W}} − {{a}} {{g}}/(√(s) + ε), s = {1 - getattr(o, 'rho', 0):g} {{g}}²",
        "adam": "{W} − {a} {g}/(√(v) + ε), v = {g}²",
        "adamw": f"{1 - rate * decay:.8g} {{W}} − {{a}} {{g}}/(√(v) + ε), v = {{g}}²",
    }.get(o.name, f"{o.name}({{W}}, {{g}})")
    return formula.format(W=W, a=f"{rate:.8g}", g=g)
