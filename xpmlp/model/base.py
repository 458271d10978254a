"""``Model``: the state of a perceptron. ``xpmlp.MLP`` adds fit, predict and the other verbs."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from types import ModuleType
from typing import Any, Self

import numpy as np

from xpmlp.arrays.checks import not_negative, strengths
from xpmlp.errors import InvalidValueError, unknown_name
from xpmlp.model import keywords, like, tables
from xpmlp.model.backends import backend_for, check_precision
from xpmlp.model.calibration import Calibration
from xpmlp.model.custom import check_derivative, check_layers, check_optimizer
from xpmlp.model.scaling import Scaling
from xpmlp.model.settings import settings_of
from xpmlp.model.task import KINDS, Task, check_outputs, check_parts
from xpmlp.model.weights import Weights
from xpmlp.nn.activations import activation
from xpmlp.nn.augmented import Augment
from xpmlp.nn.contract import Backend, Run
from xpmlp.nn.embeddings import Embedding
from xpmlp.nn.gradcheck import is_custom
from xpmlp.nn.groups import Grouped
from xpmlp.nn.layers import Layer, activate, chain
from xpmlp.nn.losses import loss as find_loss
from xpmlp.nn.network import Network
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.random import fresh_seed, seeds_of
from xpmlp.nn.rates import owners, per_network
from xpmlp.nn.step import TrainingStep

Form = Callable[[Backend, TrainingStep], Run]
"""How a step is compiled, where it is not the backend's own way."""

STEPS = 4
"""Most compiled steps that are kept."""


class Model:
    """A network with its weights, its task, and the backend that computes it.

    The arguments are those of ``xpmlp.MLP``, which documents them.

    Attributes
    ----------
    network : Network
    weights : Weights
    penalty : Penalty
    scaling : Scaling
    table : Table or None
        Turns data frames into inputs.
    loss, output, targets
        As given; ``task`` follows from them and from the targets.
    known_task : Task or None
        None until the targets are known.
    backend : Backend
    dtype, precision : str
    seed : int
    seeds : tuple of int
        The seed of each network that has one of its own; else the seed alone.
    seed_is_drawn : bool
        Whether the seed was drawn, because none was given.
    epochs_trained : int
        Over all fits.
    progress : Progress or None
        Where the last training run ended; None before the first, and after one that failed.
    calibration : Calibration or None
        What rows held out have said of the predictions; None anew when weights change.
    augment : Augment or None
        What the last fit did to its pictures.
    metadata : dict
        Anything to save with the model, as JSON.
    arguments : dict
        The arguments, except backend and device.
    compiled : dict
        Compiled steps, by optimizer.
    forward_pass : object
        The compiled forward pass; see ``xpmlp.model.forward``.
    """

    @keywords.known("MLP")
    def __init__(
        self,
        sizes: Sequence[int],
        activation: like.Activations = "relu",
        *,
        output: like.ActivationLike | None = None,
        loss: like.LossLike | None = None,
        targets: str | None = None,
        dropout: like.Rates = 0.0,
        input_dropout: like.Rate = 0.0,
        normalization: like.NormalizationLike | None = None,
        residual: bool = False,
        bias: bool = True,
        initializer: like.InitializerLike = "auto",
        bias_initializer: like.InitializerLike = "zeros",
        zero_last: bool = False,
        embedding: Embedding | None = None,
        input_scale: bool = False,
        parametrization: str = "standard",
        activation_mix: bool = False,
        l1: float | Sequence[float] = 0.0,
        l2: float | Sequence[float] = 0.0,
        penalty_on: str = "mean",
        max_norm: float | None = None,
        scaling: str | None = "auto",
        dtype: str = "float32",
        precision: str = "float32",
        backend: str | Backend | ModuleType | None = None,
        device: str | None = None,
        seed: int | Sequence[int] | None = None,
        table: object = None,
        ensemble: int | None = None,
        sharing: str = "none",
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.arguments = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "backend", "device", "table")
        }
        if dtype not in ("float32", "float64"):
            raise unknown_name("dtype", dtype, ("float32", "float64"))
        check_precision(precision, dtype)
        if penalty_on not in ("mean", "sum"):
            raise unknown_name("penalty_on", penalty_on, ("mean", "sum"))
        self.network = Network.of(self.arguments)
        l1, l2 = (strengths(n, s, self.network.seeded) for n, s in (("l1", l1), ("l2", l2)))
        max_norm = None if max_norm is None else not_negative("max_norm", max_norm)
        self.arguments |= {"l1": l1, "l2": l2, "max_norm": max_norm}
        self.dtype, self.precision = dtype, precision
        self.seed_is_drawn = seed is None
        self.reseed(fresh_seed() if seed is None else seed)
        self.penalty = Penalty(l1, l2, max_norm, penalty_on)
        self.scaling = Scaling.make(scaling, self.network.codes)
        self.table = None if table is None else tables.table_of(table, self.sizes[0])
        self.loss, self.output, self.targets = loss, output, targets
        if targets not in (None, *KINDS):
            raise unknown_name("targets", targets, KINDS)
        self._check_functions()  # now; a loss is checked when its targets are known
        self.known_task: Task | None = None
        if targets is not None:
            check_outputs(targets, self.sizes[-1])
            self.known_task = Task.make(targets, loss, output, self.sizes[-1])
        self.epochs_trained = 0
        self.calibration: Calibration | None = None
        self.metadata: dict[str, Any] = {}
        self.progress: Any = None
        self.augment: Augment | None = None
        self.forget_compiled()
        self.backend = backend_for(backend, device, dtype, precision)
        first = self.network.initial_values(self.arguments["seed"])
        check_layers(self.network, first, dtype)
        self.weights = Weights(self.network, self.backend, dtype, first)

    def _check_functions(self) -> None:
        """Refuse unknown names, and check the derivatives of custom activations."""
        if self.loss is not None:
            check_parts(find_loss(self.loss), self.sizes[-1])
        output = () if self.output is None else (activation(self.output),)
        for function in (*self.network.architecture.activations, *output):
            check_derivative(function, self.dtype)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer: a tuple of int.

        Examples
        --------
        >>> xpmlp.MLP([2, 8, 1], backend="numpy").sizes
        (2, 8, 1)
        """
        return self.network.architecture.sizes

    @property
    def task(self) -> Task:
        """What the network is trained for.

        Raises
        ------
        InvalidValueError
            Before the first fit, when the loss is not yet known.

        Examples
        --------
        >>> task = xpmlp.MLP([2, 8, 3], targets="labels", backend="numpy").task
        >>> task.kind, task.loss.name
        ('labels', 'sparse_categorical_cross_entropy')
        """
        if self.known_task is None:
            raise InvalidValueError("this model has not been trained: call fit(X, y) first")
        return self.known_task

    def set_task(self, task: Task | None) -> None:
        """Set what the network is trained for, and forget steps compiled for another task."""
        if task != self.known_task:
            self.compiled.clear()
        self.known_task = task

    def reseed(self, seed: int | Sequence[int]) -> None:
        """Draw row order and dropout from another seed; of k networks, from it and those after it.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If it is not a whole number of 0 or more; or, of an ensemble that shares nothing, k of
            them.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 1], backend="numpy", seed=0)
        >>> mlp.reseed(7)
        >>> mlp.seed
        7
        """
        self.seeds = seeds_of(seed, self.network.seeded)
        self.seed = self.seeds[0]
        consecutive = self.seeds == seeds_of(self.seed, self.network.seeded)
        self.arguments["seed"] = self.seed if consecutive else list(self.seeds)

    # Weights

    @property
    def parameters(self) -> dict[str, Any]:
        """Copies of the trainable parameters on the host, by name.

        ``"dense1.W"`` has the shape (inputs, units), ``"dense1.b"`` (units,), in the model's dtype.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 1], backend="numpy")
        >>> {name: value.shape for name, value in mlp.parameters.items()}
        {'dense1.W': (2, 8), 'dense1.b': (8,), 'dense2.W': (8, 1), 'dense2.b': (1,)}
        """
        values = self.state_dict()
        return {name: values[name] for name in self.network.layout.slots}

    def state_dict(self) -> dict[str, Any]:
        """Return copies of parameters and running statistics on the host, by name.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 3, 1], normalization="batch", backend="numpy")
        >>> sorted(set(mlp.state_dict()) - set(mlp.parameters))
        ['norm1.mean', 'norm1.var']
        """
        return self.weights.to_host()

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Set parameters and running statistics from arrays by name; every name is required.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For missing, unknown, wrongly shaped or non-finite arrays; nothing is changed then.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], targets="values", backend="numpy")
        >>> mlp.load_state_dict({"dense1.W": np.array([[2.0]]), "dense1.b": np.array([1.0])})
        >>> mlp.predict([[3.0]])
        array([7.], dtype=float32)
        """
        self.weights.load(values)
        self.calibration = None

    def copy(
        self,
        backend: str | Backend | ModuleType | None = None,
        device: str | None = None,
        dtype: str | None = None,
        **changes: Any,
    ) -> Self:
        """Return an independent copy, optionally on another backend or in another dtype.

        ``changes`` are other arguments of ``MLP`` that keep the parameters: ``dropout=0.0``. A
        copy in float64 has the precision "float32", which means that nothing is rounded.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 1], dropout=0.2, backend="numpy", seed=0)
        >>> other = mlp.copy(dtype="float64", dropout=0.0)
        >>> other.dtype, bool((other.parameters["dense1.W"] == mlp.parameters["dense1.W"]).all())
        ('float64', True)
        """
        arguments = self.arguments | {"dtype": dtype or self.dtype} | changes
        if arguments["dtype"] == "float64":
            arguments["precision"] = "float32"
        if backend is None:
            backend = self.backend if device is None else self.backend.name
        made = type(self).__new__(type(self))  # a subclass may have other arguments
        Model.__init__(made, **arguments, backend=backend, device=device)
        for name in {"scaling", "table", "augment"} - set(changes):
            setattr(made, name, getattr(self, name))
        if not {"loss", "output", "targets"} & set(changes):
            made.known_task, made.loss = self.known_task, self.loss
        made.seed_is_drawn = self.seed_is_drawn and "seed" not in changes
        made.epochs_trained, made.metadata = self.epochs_trained, deepcopy(self.metadata)
        made.load_state_dict(self.state_dict())
        if made.known_task is self.known_task and "scaling" not in changes:
            made.calibration = self.calibration
        return made

    def restore_point(self) -> Callable[[], None]:
        """Return a function that undoes whatever training changes from now on."""
        weights = self.weights.flat, self.weights.statistics
        task, seed = self.known_task, self.arguments["seed"]
        names = ("epochs_trained", "scaling", "table", "progress", "calibration", "augment")
        rest = {name: getattr(self, name) for name in names}

        def undo() -> None:
            self.weights.flat, self.weights.statistics = weights
            self.set_task(task)
            self.reseed(seed)
            vars(self).update(rest)

        return undo

    # Steps

    def full_network(self, task: Task | None = None) -> Layer:
        """Return the network, with the output activation where the loss has none of its own."""
        output = (task or self.task).output
        if output is None:
            return self.network.body
        return chain("mlp", [*self.network.layers, activate("output", output)])

    def make_step(self, optimizer: Optimizer, metrics: bool = True) -> TrainingStep:
        """Return a training step; without ``metrics`` it measures only the loss."""
        metric = self.task.metric if metrics else None
        owned = owners(optimizer, self.network.layout, self.network.seeded)
        return TrainingStep(
            self.backend.ops,
            self.network,
            self.full_network(),
            self.task.loss,
            metric,
            self.penalty_on_device(),
            self.grouped(optimizer),
            None if owned is None else self.backend.asarray(np.array(owned, dtype=np.int32)),
            self.augment,
        )

    def grouped(self, optimizer: Optimizer) -> Grouped:
        """Return an optimizer, laid out on the network's parameters."""
        return Grouped(optimizer, self.network.layout)

    def penalty_on_device(self) -> Penalty:
        """Return the penalty, with those of each network as arrays."""
        return self.penalty.placed(lambda each: self.backend.asarray(np.array(each), self.dtype))

    def compiled_step(self, optimizer: Optimizer, metrics: bool, form: Form | None = None) -> Run:
        """Return a compiled training step; it is made again if what it depends on changes."""
        # Rates come with each step's plan, so one step serves all of them.
        planned = ("learning_rate", "groups", "average")
        settings: Any = {n: v for n, v in vars(optimizer).items() if n not in planned}
        how = optimizer.average is not None, bool(per_network(optimizer)), metrics, form
        structure, custom = self.grouped(optimizer).structure, self.custom_settings()
        key = type(optimizer), settings_of(settings), structure, self.penalty, custom, how
        if key not in self.compiled:
            check_optimizer(optimizer, self.network.layout.size, self.dtype)
            while len(self.compiled) >= STEPS:
                del self.compiled[next(iter(self.compiled))]
            step = self.make_step(optimizer, metrics)
            self.compiled[key] = form(self.backend, step) if form else self.backend.compile(step)
        return self.compiled[key]

    def custom_settings(self) -> Any:
        """Return what custom functions and augmentation depend on; None if there are none."""
        architecture, task = self.network.architecture, self.known_task
        functions = [*architecture.activations, *((task.loss, task.output) if task else ())]
        custom: list[Any] = [f for f in functions if f is not None and is_custom(f)]
        custom += [] if self.augment is None else [self.augment]
        if callable(architecture.normalization):
            custom += [layer.forward for layer in self.network.layers]
        return settings_of(custom) if custom else None

    def forget_compiled(self) -> None:
        """Free the memory of compiled steps and forward passes.

        After a fit a model keeps them for the next fit and for predictions: recorded NumPy steps
        with their intermediate results, CUDA graphs, compiled functions. Weights and the state from
        which ``fit(continued=True)`` continues stay. The next fit compiles, or records, its step
        again, and gives the same results.

        Examples
        --------
        >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy"), xpmlp.data.make_xor(n=100)
        >>> history = mlp.fit(points.X, points.y)
        >>> mlp.forget_compiled()
        """
        self.compiled: dict[Any, Run] = {}
        self.forward_pass: Any = None
