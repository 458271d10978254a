"""``MLP.to_torch`` and ``MLP.from_torch``: a network as an ``nn.Sequential``, and back."""

from math import sqrt
from typing import Any, TypeVar

import numpy as np

from xpmlp.errors import InvalidTypeError, InvalidValueError, require
from xpmlp.export import forward
from xpmlp.model.base import Model
from xpmlp.model.members import refuse_ensemble
from xpmlp.nn.normalization import EPSILON
from xpmlp.nn.schedules import Schedule
from xpmlp.nn.tabular import BOUND

Made = TypeVar("Made", bound=Model)


def convert(model: Model, outputs: str, copy: bool) -> Any:
    """Return a model as modules; ``MLP.to_torch`` documents it."""
    torch = require("torch", "torch", "to_torch")
    forward.reading_of(model, outputs)
    refuse_ensemble(model, "to_torch")
    a = model.network.architecture
    if a.embedding is not None:
        raise InvalidValueError(
            "to_torch: this model has an embedding, which PyTorch has no module for; use to_onnx "
            "or to_jax"
        )
    if callable(a.normalization):
        raise InvalidValueError(
            f"to_torch: this model has the custom layer {a.normalization.__name__!r}, which "
            "PyTorch has no module for; use to_onnx or to_jax"
        )
    return _Converter(torch, model, copy).network(outputs)


class _Converter:
    """Makes modules of a model's layers."""

    def __init__(self, torch: Any, model: Model, copy: bool) -> None:
        from xpmlp_backends.torch import modules

        self.model, self.torch, self.modules = model, torch, modules
        self.nn = torch.nn
        self.dtype = getattr(self.torch, model.dtype)
        self.values = self._shared() if not copy else self._copies()

    def _copies(self) -> dict[str, Any]:
        return {n: self.torch.from_numpy(v) for n, v in self.model.state_dict().items()}

    def _shared(self) -> dict[str, Any]:
        """Return the model's own parameters, if others may write to them."""
        network, weights = self.model.network, self.model.weights
        if "mutable" not in self.model.backend.capabilities:
            raise InvalidValueError(
                f"to_torch: found copy=False for a model on {self.model.backend.name!r}, whose "
                "memory PyTorch must not write to; expected one on 'torch', 'numpy' or 'cupy'"
            )
        made = [self.torch.from_dlpack(x) for x in (weights.flat, weights.statistics)]
        views = (layout.slots for layout in (network.layout, network.statistics))
        return {
            name: flat[start:stop].reshape(shape)
            for flat, slots in zip(made, views, strict=True)
            for name, (shape, start, stop) in slots.items()
        }

    def network(self, outputs: str) -> Any:
        """Return all of it, as for predictions: dropout drops nothing."""
        a = self.model.network.architecture
        found = self._inputs()
        *pairs, _ = a.pairs
        for i, (n_in, n_out) in enumerate(pairs, start=1):
            hidden = [self._dense(i), *self._norm(i, n_out), self._activation(i)]
            hidden += self._dropout(a.dropout[i - 1])
            if a.residual and n_in == n_out:
                hidden = [self.modules.Residual(self.nn.Sequential(*hidden))]
            found += hidden
        found += [self._dense(len(a.pairs))]
        found += self._predictions() if outputs == "predictions" else self._logits()
        return self.nn.Sequential(*found).eval().to(self.values["dense1.W"].device)

    def _inputs(self) -> list[Any]:
        a, scaling = self.model.network.architecture, self.model.scaling
        found: list[Any] = []
        if scaling.shift is not None or scaling.scale is not None:
            exact = scaling.mode == "robust"
            clip = np.full(len(scaling.scale), 1 / BOUND**2) if exact else None
            by = scaling.shift, scaling.scale, self.dtype, clip, exact
            found.append(self.modules.Standardize(*by))
        if a.input_scale:
            found.append(self.modules.Scale(self.values["scale.g"]))
        return found + self._dropout(a.input_dropout)

    def _dense(self, i: int) -> Any:
        a, W = self.model.network.architecture, self.values[f"dense{i}.W"]
        if a.parametrization == "ntk":
            W = W / sqrt(W.shape[0])
        made = self.nn.Linear(*W.shape, bias=a.bias, dtype=self.dtype, device="meta")
        made.weight = self.nn.Parameter(W.T)
        if a.bias:
            made.bias = self.nn.Parameter(self.values[f"dense{i}.b"])
        return made

    def _norm(self, i: int, units: int) -> list[Any]:
        kind = self.model.network.architecture.normalization
        if kind is None:
            return []
        cls = {"batch": self.nn.BatchNorm1d, "layer": self.nn.LayerNorm}[kind]
        made = cls(units, eps=EPSILON, dtype=self.dtype)
        made.weight = self.nn.Parameter(self.values[f"norm{i}.g"])
        made.bias = self.nn.Parameter(self.values[f"norm{i}.b"])
        if kind == "batch":
            made.running_mean = self.values[f"norm{i}.mean"]
            made.running_var = self.values[f"norm{i}.var"]
        return [made]

    def _activation(self, i: int) -> Any:
        a = self.model.network.architecture
        made = self._named(a.activations[i - 1].name)
        return self.modules.Mix(self.values[f"mix{i}.a"], made) if a.activation_mix else made

    def _named(self, name: str) -> Any:
        if name not in self.modules.MADE:
            raise InvalidValueError(
                f"to_torch: the activation {name!r} is a custom one, which PyTorch has no module "
                "for; use to_onnx or to_jax"
            )
        return self.modules.MADE[name]()

    def _dropout(self, rate: Any) -> list[Any]:
        first = rate.rate if isinstance(rate, Schedule) else rate
        return [self.nn.Dropout(float(first))] if first else []

    def _logits(self) -> list[Any]:
        """Return what makes logits of the last layer's outputs, which mostly are logits."""
        output = self.model.task.output
        if output is None:
            return []
        return [self._named(output.name), self.modules.Logits(output.name == "softmax")]

    def _predictions(self) -> list[Any]:
        """Return what makes predictions of the last layer's outputs."""
        model, task, scaling = self.model, self.model.task, self.model.scaling
        found: list[Any] = []
        if model.calibration is not None and model.calibration.temperature != 1.0:
            colder = 1.0 / model.calibration.temperature
            found += [*self._logits(), self.modules.Standardize(None, colder, self.dtype)]
        if task.loss.predicts != "points":
            found.append(self.modules.Points(task.loss))
        link = task.link.name if task.output is None else task.output.name
        found += [self._named(link)] * (link != "identity")
        if task.kind == "binary":
            found.append(self.modules.BothClasses())
        if scaling.scales_targets(task) and scaling.target_scale is not None:
            ends = scaling.target_low, scaling.target_high
            by = scaling.target_scale, scaling.target_shift, *ends, self.dtype
            found.append(self.modules.Units(*by))
        return found


# Back


def read(cls: type[Made], network: Any, arguments: dict[str, Any]) -> Made:
    """Return a model of modules; ``MLP.from_torch`` documents it."""
    torch = require("torch", "torch", "from_torch")
    if not isinstance(network, torch.nn.Sequential):
        raise InvalidTypeError(
            f"from_torch: found {type(network).__name__}; expected a torch.nn.Sequential"
        )
    found = _Reader(torch.nn, network)
    made = cls(**found.arguments(arguments))
    made.load_state_dict(found.values)
    return made


class _Reader:
    """Reads modules in order: linear, normalization, activation and dropout, again and again.

    Attributes
    ----------
    values : dict of str to ndarray
        Parameters and running statistics.
    """

    def __init__(self, nn: Any, network: Any) -> None:
        from xpmlp_backends.torch import modules

        self.nn, self.modules = nn, modules
        self.values: dict[str, Any] = {}
        self.sizes: list[int] = []
        self.activations: list[str | None] = []
        self.norms: list[str | None] = []
        self.dropout: list[float | None] = []
        self.input_dropout = 0.0
        for place, module in enumerate(network):
            self._add(f"module {place}, {module}", module)
        if not self.sizes:
            raise InvalidValueError("from_torch: found no Linear; expected at least one")

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``MLP``, with those that are given."""
        hidden = len(self.sizes) - 2
        output = self.activations[-1]
        if self.norms[-1] or self.dropout[-1] is not None:
            raise InvalidValueError(
                "from_torch: found a normalization or dropout after the last Linear; expected "
                "them in hidden layers alone"
            )
        if len(set(self.norms[:-1])) > 1:
            raise InvalidValueError(
                f"from_torch: found the normalizations {self.norms[:-1]} of the hidden layers; "
                "expected the same in all of them, or in none"
            )
        bias = any(name.startswith("dense") and name.endswith(".b") for name in self.values)
        if bias:
            for i, units in enumerate(self.sizes[1:], start=1):
                self.values.setdefault(f"dense{i}.b", np.zeros(units))
        made: dict[str, Any] = {
            "sizes": self.sizes,
            "activation": [name or "identity" for name in self.activations[:-1]],
            "normalization": self.norms[0] if hidden else None,
            "dropout": [rate or 0.0 for rate in self.dropout[:-1]],
            "input_dropout": self.input_dropout,
            "bias": bias,
            "dtype": self.values["dense1.W"].dtype.name,
            **self._output(output),
        }
        return made | given

    def _output(self, name: str | None) -> dict[str, Any]:
        """Return what the last activation says of the targets: the loss applies it itself."""
        if name == "softmax":
            return {"targets": "labels"}
        if name == "sigmoid":
            return {"targets": "binary" if self.sizes[-1] == 1 else "multilabel"}
        return {} if name is None else {"output": name}

    def _add(self, where: str, module: Any) -> None:
        nn, name = self.nn, self.modules.name_of(module)
        if isinstance(module, nn.Identity) or (isinstance(module, nn.Flatten) and not self.sizes):
            return
        if isinstance(module, nn.Linear):
            self._linear(where, module)
        elif isinstance(module, nn.Dropout) and not self.sizes:
            self.input_dropout = float(module.p)
        elif not self.sizes:
            raise self._unknown(where)
        elif isinstance(module, nn.Dropout) and self.dropout[-1] is None:
            self.dropout[-1] = float(module.p)
        elif name is not None and self.activations[-1] is None and self.dropout[-1] is None:
            self.activations[-1] = name
        elif isinstance(module, nn.BatchNorm1d | nn.LayerNorm) and not self._filled():
            self._norm(where, module)
        else:
            raise self._unknown(where)

    def _filled(self) -> bool:
        last = self.norms[-1], self.activations[-1], self.dropout[-1]
        return any(part is not None for part in last)

    @staticmethod
    def _unknown(where: str) -> InvalidValueError:
        return InvalidValueError(
            f"from_torch: found {where}; expected Linear, then BatchNorm1d or LayerNorm, an "
            "activation, and Dropout, each at most once and in this order; activations with "
            "PyTorch's default settings"
        )

    def _linear(self, where: str, module: Any) -> None:
        W = module.weight.detach()
        if str(W.dtype) not in ("torch.float32", "torch.float64"):
            raise InvalidTypeError(
                f"from_torch: found {where} in {W.dtype}; expected float32 or float64: "
                "network.float()"
            )
        self.sizes += [module.in_features] * (not self.sizes) + [module.out_features]
        i = len(self.sizes) - 1
        self.values[f"dense{i}.W"] = self._host(W).T
        if module.bias is not None:
            self.values[f"dense{i}.b"] = self._host(module.bias)
        self.norms.append(None)
        self.activations.append(None)
        self.dropout.append(None)

    def _norm(self, where: str, module: Any) -> None:
        i, units = len(self.sizes) - 1, self.sizes[-1]
        batch = isinstance(module, self.nn.BatchNorm1d)
        shape = (module.num_features,) if batch else tuple(module.normalized_shape)
        lacking = batch and module.running_var is None
        if shape != (units,) or lacking or (not batch and module.eps != EPSILON):
            raise InvalidValueError(
                f"from_torch: found {where}; expected {units} features, "
                + ("running statistics" if batch else f"eps={EPSILON:g}")
            )
        self.norms[-1] = "batch" if batch else "layer"
        one, zero = np.ones(units), np.zeros(units)
        for name, value, default in (("g", module.weight, one), ("b", module.bias, zero)):
            self.values[f"norm{i}.{name}"] = default if value is None else self._host(value)
        if batch:
            var = self._host(module.running_var).astype(np.float64)
            self.values[f"norm{i}.mean"] = self._host(module.running_mean)
            self.values[f"norm{i}.var"] = var + (module.eps - EPSILON)

    @staticmethod
    def _host(x: Any) -> Any:
        return x.detach().to("cpu", copy=True).numpy()
