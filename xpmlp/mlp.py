"""``MLP``: what people call. It checks, moves and remembers; the mathematics is elsewhere."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from xpmlp.arrays.checks import Scaling, features, not_negative, whole
from xpmlp.arrays.dlpack import give_back
from xpmlp.callbacks.callbacks import Callback, check_callbacks
from xpmlp.checkpoints.folder import Checkpoints
from xpmlp.errors import InvalidTypeError, InvalidValueError, unknown_name
from xpmlp.model import files, pickling
from xpmlp.model.placement import backend_for, check_precision
from xpmlp.model.predict import decisions, evaluate_batches, forward_batches, probabilities
from xpmlp.model.shortage import Request, advice_on_training, advice_on_use, guarded
from xpmlp.model.summary import summary
from xpmlp.model.task import KINDS, Task, check_names, check_outputs
from xpmlp.model.weights import Weights
from xpmlp.nn.contract import Backend, Run
from xpmlp.nn.initializers import initial_values
from xpmlp.nn.layers import Layer, activate, chain
from xpmlp.nn.network import Network
from xpmlp.nn.optimizers import Optimizer, optimizer
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.random import as_seed, fresh_seed
from xpmlp.nn.step import TrainingStep
from xpmlp.training.fitting import ended, train
from xpmlp.training.history import History, Progress
from xpmlp.training.plans import Order
from xpmlp.training.prepare import Prepared, encode, pair, prepare

Array = Any


class MLP:
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, inputs first, outputs last: ``[784, 512, 512, 10]``.
    activation : str, (f, derivative), Activation, or list of them
        Of the hidden layers; a list has one for each. See ``xpmlp.activations``.
    output : str or Activation, optional
        After the last layer. Follows from the loss unless given: softmax, sigmoid or exp belong
        to the cross-entropies and Poisson; the others have none.
    loss : str, Loss or callable, optional
        Follows from the targets unless given: sparse categorical cross-entropy for class
        indices, categorical for one-hot rows, binary for 0/1 targets, MSE for real values.
    targets : {"labels", "one_hot", "binary", "multilabel", "values"}, optional
        What y holds. Told from its dtype, shape and values unless given, which whole numbers that
        are not classes, and labels of which each row happens to have one, need.
    dropout : float or list of float
        Share of each hidden layer's units dropped in training.
    input_dropout : float
        The same for the inputs.
    normalization : {"layer", "batch"} or callable (name, units) -> Layer, optional
        Between each hidden dense map and its activation; a function puts a layer of your own
        there. Its derivative is yours to check: ``xpmlp.check_gradient(mlp, X, y)``.
    residual : bool
        Hidden layers that keep the width add their input to their output.
    bias : bool
    initializer : str or callable (rng, n_in, n_out) -> ndarray
        ``"auto"`` is He for the ReLU family, Glorot otherwise.
    l1, l2 : float
        The penalty λ₁ Σ|W| + ½ λ₂ ΣW² on the weights, part of the loss; both: the elastic net.
    penalty_on : {"mean", "sum"}
        Whether it is added to the mean of a batch's losses, or to their sum, which is then divided
        by the number of rows (or the sum of their weights), as scikit-learn does.
    max_norm : float, optional
        Largest Euclidean norm of a unit's incoming weights.
    scaling : {"auto", "standard", None}
        ``"auto"`` divides uint8 inputs by 255; ``"standard"`` standardizes inputs, and real
        targets, by the first training data's mean and deviation (losses are in those units,
        predictions in the targets'); None leaves all as they are.
    dtype : {"float32", "float64"}
    precision : {"float32", "tf32", "bf16"}
        What the factors of a float32 model's matrix products may be rounded to; sums, weights
        and all else stay float32. Devices that have nothing but float32, CPUs among them, compute
        in that, which is only more exact: ``mlp.backend.precision`` says what is done.
    backend : str or Backend
        ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"auto"``, or a third party's name.
    device : str, optional
        In the library's own terms: ``"cuda:1"``.
    seed : int, optional
        Of weights, order and dropout: the same run on every backend. Drawn if not given.

    Attributes
    ----------
    task : Task or None
        Loss, output and metric, known after the first ``fit``, or at once if ``targets`` is given.
    epochs_trained : int
        Over all fits.
    progress : Progress or None
        Where the last training ended, beside the weights; None before, and after one that failed.
    metadata : dict
        Whatever the user wants saved with the model, as JSON: class names, for example.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For arguments that cannot work, with the fix.
    BackendError
        If the backend cannot work here.
    GradientError
        If an own activation's or loss's derivative is wrong.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Any = "relu",
        *,
        output: Any = None,
        loss: Any = None,
        targets: str | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        normalization: Any = None,
        residual: bool = False,
        bias: bool = True,
        initializer: Any = "auto",
        l1: float = 0.0,
        l2: float = 0.0,
        penalty_on: str = "mean",
        max_norm: float | None = None,
        scaling: str | None = "auto",
        dtype: str = "float32",
        precision: str = "float32",
        backend: str | Backend | None = None,
        device: str | None = None,
        seed: int | None = None,
    ) -> None:
        self._arguments = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "backend", "device")
        }
        if dtype not in ("float32", "float64"):
            raise unknown_name("dtype", dtype, ("float32", "float64"))
        check_precision(precision, dtype)
        if penalty_on not in ("mean", "sum"):
            raise unknown_name("penalty_on", penalty_on, ("mean", "sum"))
        l1, l2 = not_negative("l1", l1), not_negative("l2", l2)
        max_norm = None if max_norm is None else not_negative("max_norm", max_norm)
        self._arguments |= {"l1": l1, "l2": l2, "max_norm": max_norm}
        self.network = Network.of(self._arguments)
        self.dtype, self.precision = dtype, precision
        self.seed_is_drawn = seed is None
        self.reseed(fresh_seed() if seed is None else seed)
        self.penalty = Penalty(l1, l2, max_norm, penalty_on)
        self.scaling = Scaling.make(scaling)
        self.loss, self.output, self.targets = loss, output, targets
        if targets not in (None, *KINDS):
            raise unknown_name("targets", targets, KINDS)
        check_names(loss, output)  # a wrong name should be said now, not at the first fit
        self._task = None
        if targets is not None:
            check_outputs(targets, self.sizes[-1])
            self._task = Task.make(targets, loss, output)
        self.epochs_trained = 0
        self.metadata: dict[str, Any] = {}
        self.progress: Progress | None = None
        self._compiled: dict[Any, Run] = {}
        self._forward_pass: Any = None  # compiled for predictions; see ``inference``
        self.backend = backend_for(backend, device, dtype, precision)
        first = initial_values(self.network, self.seed)
        self.weights = Weights(self.network, self.backend, dtype, first)

    # What it is

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer."""
        return self.network.architecture.sizes

    @property
    def task(self) -> Task:
        """What the network is trained for.

        Raises
        ------
        InvalidValueError
            Before the first fit, when the loss is not yet known.
        """
        if self._task is None:
            raise InvalidValueError("this model has not been trained: call fit(X, y) first")
        return self._task

    @property
    def parameters(self) -> dict[str, Any]:
        """Copies of the trainable parameters on the host: ``"dense1.W"``, ``"dense1.b"``, ..."""
        values = self.state_dict()
        return {name: values[name] for name in self.network.layout.slots}

    def summary(self) -> str:
        """Return a table of the layers, with parameters and what each computes."""
        return summary(self)

    def __repr__(self) -> str:
        rounded = "" if self.precision == "float32" else f", precision={self.precision!r}"
        return (
            f"MLP({list(self.sizes)}, backend={self.backend.name!r}, dtype={self.dtype!r}{rounded})"
        )

    # Training

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 20,
        batch_size: int | None = 128,
        optimizer: str | Optimizer = "adam",
        sample_weight: Any = None,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        shuffle: bool | Order = True,
        metrics: bool = True,
        callbacks: Sequence[Callback] = (),
        data_on: str = "auto",
        continued: bool = False,
        checkpoints: str | os.PathLike[str] | Checkpoints | None = None,
        checkpoint_every: int | None = None,
        resume: bool | str | os.PathLike[str] = False,
    ) -> History:
        """Train, from the weights the model has.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
            NumPy, or an array of any library that lies on the model's device: taken over by
            DLPack, without a copy where that can be. Kept in its dtype where ``data_on`` says.
            SciPy's sparse matrices and arrays stay sparse on the host, and only the rows of some
            steps at a time become dense; so ``batch_size=None`` makes all of them so at once.
        y : array-like, shape (n,) or (n, sizes[-1])
            Class indices, one-hot rows, 0/1, or real values.
        epochs : int
        batch_size : int, optional
            1 to n; larger values and None mean the full set. The last batch may be smaller.
        optimizer : str or Optimizer
            ``xpmlp.Adam(1e-3)``; its running averages start anew at each fit, unless ``continued``.
        sample_weight : array-like, shape (n,), optional
            A weight of 2 counts as the row twice.
        validation_data : (X, y), optional
            Measured after each epoch.
        validation_split : float
            Share of the rows held out for validation, drawn by the seed.
        shuffle : bool or callable (epoch, n) -> n integers below n
            Whether each epoch takes the rows in a new order; a function gives an order of your
            own, in which rows may be missing and others come twice. Epochs count over all fits.
        metrics : bool
            Whether to measure accuracy or R² on the training batches, beside the loss.
        callbacks : sequence of Callback
            ``xpmlp.EarlyStopping(patience=5)``, for example.
        data_on : {"auto", "device", "host"}
            Where NumPy data lie: ``"device"`` copies all to it before the first step; ``"host"``
            copies the rows of some hundred steps at a time, while the steps before them run;
            ``"auto"`` is the host for data that take more than 0.7 of a GPU's free memory, and
            for sparse ones, for which ``"device"`` is refused. The training is the same, step by
            step.
        continued : bool
            Go on as if the fit before had not ended, though the data may be others: with its
            running averages, its count of steps and epochs, and its history, which is extended.
        checkpoints : path-like or Checkpoints, optional
            A folder for files from which the training can go on, bit for bit, whatever ends it:
            see ``xpmlp.Checkpoints``. The last three and the best are kept.
        checkpoint_every : int, optional
            Save after so many steps; unless given, after each epoch.
        resume : bool or path-like
            Go on from the newest checkpoint, or the one given, with the same arguments, data and
            callbacks as before; where there is none yet, begin.

        Returns
        -------
        History
            A dict of lists, one number per epoch.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            Before any compute, for input that cannot work; the model is as it was.
        DivergenceError
            If the loss becomes NaN or infinite; the model keeps the last good epoch's weights.
        CheckpointError
            If there are checkpoints to go on from, and none is sound.
        RunLockedError
            If another process has the folder.
        OSError
            If a checkpoint cannot be written, or the one to go on from is not there.
        DeviceMemoryError
            If the device's memory is too small, with a batch size that fits; the model keeps the
            last finished epoch's weights.
        """
        chosen = _optimizer(optimizer)
        epochs = whole("epochs", epochs)
        batch_size = None if batch_size is None else whole("batch_size", batch_size)
        if data_on not in ("auto", "device", "host"):
            raise unknown_name("data_on", data_on, ("auto", "device", "host"))
        if not callable(shuffle) and shuffle not in (True, False):
            raise InvalidTypeError(f"shuffle: found {shuffle!r}; expected a bool or a function")
        callbacks = check_callbacks(callbacks)
        kept = Checkpoints.of(checkpoints, checkpoint_every, resume)
        with kept.opened(resume) if kept else nullcontext() as saved:
            asked = Request(batch_size or 0, chosen.slots)
            return guarded(
                lambda: advice_on_training(self, asked),
                train,
                self,
                partial(prepare, self, X, y, sample_weight, validation_data, validation_split),
                asked,
                data_on,
                saved,
                optimizer=chosen,
                epochs=epochs,
                shuffle=shuffle,
                metrics=bool(metrics),
                callbacks=[*callbacks, *(kept.callbacks() if kept else ())],
                after=ended(self, chosen) if continued and saved is None else None,
            )

    def reseed(self, seed: int) -> None:
        """Draw order and dropout from another seed from now on.

        Raises
        ------
        InvalidValueError
            If it is not a whole number of 0 or more.
        """
        self.seed = self._arguments["seed"] = as_seed(seed)

    # Use

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """Return ``{"loss": ..., "accuracy": ...}``, or ``"r2"`` in place of accuracy for values.

        The loss includes the penalty, as in training. NumPy arrays are copied to the device batch
        by batch, and so are the rows of sparse matrices, dense.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        y : array-like, shape (n,) or (n, sizes[-1])

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For input that cannot work, as ``fit``; or if the model knows no task yet.
        DeviceMemoryError
            If the device's memory is too small for a single row.
        """
        x, host_y = pair(self, X, y)
        self.scaling.check(x)
        target = encode(self, host_y)
        return guarded(lambda: advice_on_use(self, "evaluate"), evaluate_batches, self, x, target)

    def predict(self, X: Any) -> Array:
        """Return class indices, 0/1 labels, or values; shape (n,), or (n, outputs) for several.

        In the library of X and on its device; NumPy for lists and sparse matrices. What comes from
        the host is copied to the device batch by batch.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For input that cannot work, as ``fit``; or if the model knows no task yet.
        DeviceMemoryError
            If the device's memory is too small for a single row, or for the results.
        """
        return self._forward(X, decisions, "predict")

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities, shape (n, C); for one output those of 0 and 1, shape (n, 2).

        Raises
        ------
        InvalidValueError
            If the model predicts values, not classes.
        DeviceMemoryError
            As ``predict``.
        """
        if self.task.kind == "values":
            raise InvalidValueError("predict_proba: this model predicts values; use predict")
        return self._forward(X, probabilities, "predict_proba")

    # Move, save, restore

    def to(self, backend: str | Backend, device: str | None = None) -> "MLP":
        """Move the model to another backend, in place; returns it."""
        before = self.backend
        self.backend = backend_for(backend, device, self.dtype, self.precision)
        self.weights.move(self.backend)
        if self.progress is not None:
            self.progress = self.progress.moved(before.to_numpy).moved(self.backend.asarray)
        self._compiled.clear()
        return self

    def copy(
        self,
        backend: str | Backend | None = None,
        device: str | None = None,
        dtype: str | None = None,
        **changes: Any,
    ) -> "MLP":
        """Return an independent copy, on this backend or another, in this dtype or another.

        Nothing is rounded in float64: a copy in it has the precision "float32" again. ``changes``
        are other arguments of ``MLP``, ``dropout=0.0`` for example, that keep the parameters.
        """
        arguments = self._arguments | {"dtype": dtype or self.dtype} | changes
        if arguments["dtype"] == "float64":
            arguments["precision"] = "float32"
        if backend is None:
            backend = self.backend if device is None else self.backend.name
        made = MLP(**arguments, backend=backend, device=device)
        if "scaling" not in changes:
            made.scaling = self.scaling
        if not {"loss", "output", "targets"} & set(changes):
            made._task, made.loss = self._task, self.loss
        made.seed_is_drawn = self.seed_is_drawn and "seed" not in changes
        made.epochs_trained, made.metadata = self.epochs_trained, deepcopy(self.metadata)
        made.load_state_dict(self.state_dict())
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return copies of parameters and running statistics on the host, by name."""
        return self.weights.to_host()

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Set parameters and running statistics from arrays by name; all names are needed.

        Raises
        ------
        InvalidValueError
            For missing, unknown or wrongly shaped arrays; nothing is changed then.
        """
        self.weights.load(values)

    def save(self, path: Any) -> None:
        """Write the model to a file; the old file stays until the new one is complete.

        Models can be pickled, too, dumped by joblib and deep-copied: see ``xpmlp.model.pickling``.

        Parameters
        ----------
        path : path-like
            Folders on the way are made.

        Raises
        ------
        InvalidValueError
            If ``metadata`` cannot be written as JSON.
        OSError
            If the file cannot be written.
        """
        files.save(self, path)

    def __getstate__(self) -> dict[str, Any]:
        return pickling.state(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        pickling.restore(self, state)

    # Inside

    def _settle(self, ready: Prepared) -> None:
        """Take over what the data said about task and scaling."""
        self.scaling = ready.scaling
        self._set_task(ready.task)

    def _set_task(self, task: Task | None) -> None:
        if task != self._task:
            self._compiled.clear()
        self._task = task

    def _model(self) -> Layer:
        """The network, with the output activation where the loss has none of its own."""
        if self.task.output is None:
            return self.network.body
        return chain("mlp", [*self.network.layers, activate("output", self.task.output)])

    def _step(self, optimizer: Optimizer, metrics: bool = True) -> TrainingStep:
        task, model = self.task, self._model()
        metric = task.metric if metrics else None
        return TrainingStep(
            self.backend.ops, self.network, model, task.loss, metric, self.penalty, optimizer
        )

    def _compiled_step(self, optimizer: Optimizer, metrics: bool) -> Run:
        # Rates come with each step's plan, so a step serves all of them.
        key = (replace(optimizer, learning_rate=1.0), metrics)
        if key not in self._compiled:
            self._compiled[key] = self.backend.compile(self._step(*key))
        return self._compiled[key]

    def _prepare(self, X: Any, y: Any) -> tuple[Array, Array]:
        """Settle task and scaling by these data, as ``fit`` does; return what a step takes."""
        ready = prepare(self, X, y)
        self._settle(ready)
        data = ready.placed(self.backend, self.dtype).data
        return data.X, data.y

    def _forward(self, X: Any, finish: Callable[["MLP", Array], Array], call: str) -> Array:
        x = features(self.backend, X, self.sizes[0], self.dtype)
        self.scaling.check(x)
        advice = partial(advice_on_use, self, call)
        return give_back(self.backend, X, guarded(advice, forward_batches, self, x, finish))

    def _forget_compiled(self) -> None:
        """Let go of what steps and passes keep between calls."""
        self._compiled, self._forward_pass = {}, None


_optimizer = optimizer  # fit's argument has the same name
