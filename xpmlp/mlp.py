"""``MLP``: what people call. A ``Model`` with the verbs: fit, evaluate, predict, save, to."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from xpmlp.arrays.checks import whole
from xpmlp.callbacks import ShowProgress
from xpmlp.checkpoints.folder import Checkpoints
from xpmlp.errors import InvalidTypeError, InvalidValueError, flag, unknown_name
from xpmlp.export.methods import Exportable
from xpmlp.model import files, keywords
from xpmlp.model.class_weight import ClassWeight
from xpmlp.model.measures import Metrics, asked_for
from xpmlp.model.memory import Request, advice_on_training, within_memory
from xpmlp.model.portable import Portable
from xpmlp.model.summary import Described
from xpmlp.nn.augment import Spec
from xpmlp.nn.contract import Backend
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.optimizers import optimizer as find_optimizer
from xpmlp.parallel import Communicator
from xpmlp.parallel.find import sharded
from xpmlp.training.batches import Order, check_order
from xpmlp.training.begin import train
from xpmlp.training.callback import Callback, check_callbacks
from xpmlp.training.history import History, continue_from
from xpmlp.training.prepare import prepare
from xpmlp.training.stream import (
    NO_DATA,
    NO_STEPS,
    Batches,
    Stream,
    prepare_first,
    refuse_with_batches,
)
from xpmlp.training.workers import together


class MLP(Exportable, Portable, Described):
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, inputs first, outputs last: ``[784, 512, 512, 10]``.
    activation : str, (f, derivative), Activation, or list of them
        Of the hidden layers; a list has one for each. See ``xpmlp.activations``.
    output : str or Activation, optional
        After the last layer. Inferred from the loss if omitted: softmax, sigmoid or exp belong
        to the cross-entropies and Poisson; the others have none.
    loss : str, Loss or callable, optional
        Inferred from the targets if omitted: sparse categorical cross-entropy for class
        indices, categorical for one-hot rows, binary for 0/1 targets, MSE for real values.
        "gaussian" and ``xpmlp.losses.Quantiles`` have several outputs for each target, which
        the last of the sizes counts: 2 for the mean and the variance of one target.
    targets : {"labels", "one_hot", "binary", "multilabel", "values"}, optional
        What y holds. Inferred if omitted. Pass it for integer regression targets, and for
        multilabel data in which every row happens to have exactly one label.
    dropout : float, Schedule, or list of them
        Share of each hidden layer's units that training drops.
    input_dropout : float or Schedule
        Share of the inputs that training drops; with an embedding, of its outputs.
    normalization : {"layer", "batch"} or callable (name, units) -> Layer, optional
        Between each hidden dense layer and its activation. A function makes a custom layer;
        check its derivative with ``xpmlp.check_gradient(mlp, X, y)``.
    residual : bool
        Whether hidden layers that keep the width add their input to their output.
    bias : bool
        Whether layers add a bias.
    initializer : str or callable (rng, n_in, n_out) -> ndarray
        ``"auto"`` is He for the ReLU family, LeCun for SELU, Glorot otherwise. ``"data"``
        gives each unit variance 1 on the first training data.
    bias_initializer : {"zeros", "normal", "uniform", "data"} or callable (rng, n_in, n_out)
        ``"uniform"`` is within ±1/√n_in; ``"data"`` lets z be 0 at a random mean of five rows.
    embedding : Embedding, optional
        What becomes of each input before the first layer.
    parametrization : {"standard", "ntk"}
        ``"ntk"``: z = x W/√n_in + b, with W √n_in times as large; of N(0, 1) with "auto".
    input_scale, activation_mix, zero_last : bool
        Whether each input, after the embedding, is multiplied by a learned number; each hidden
        unit learns a of z + a (f(z) − z), which starts at 1; the last layer's weights start at 0.
    l1, l2 : float, or list of one for each network
        The loss includes the penalty λ₁ Σ|W| + ½ λ₂ ΣW² on the weights; with both it is the
        elastic net. Networks that share nothing may each have their own.
    penalty_on : {"mean", "sum"}
        Whether the penalty is added to the mean of a batch's losses, or to their sum, which is
        then divided by the number of rows (or the sum of their weights), as in scikit-learn.
    max_norm : float, optional
        Largest Euclidean norm of a unit's incoming weights.
    scaling : {"auto", "standard", "robust", None}
        ``"auto"`` divides uint8 inputs by 255. ``"standard"`` standardizes inputs, and as many real
        targets as outputs, by mean and standard deviation of the first training data; losses are in
        those units, predictions in the targets' own. ``"robust"`` takes median and interquartile
        range of inputs, then x/√(1 + (x/3)²), within ±3. None changes nothing.
    table : Table or "auto", optional
        Turns data frames of pandas, polars or Arrow into inputs, scaled already; learned at the
        first fit if it has not been fitted. Arrays are taken for inputs.
    dtype : {"float32", "float64"}
    precision : {"float32", "tf32", "bf16"}
        What the factors of a float32 model's matrix products may be rounded to; everything else
        stays float32. Devices without the rounded formats, such as CPUs, compute in float32:
        ``mlp.backend.precision`` says what is used.
    backend : str, Backend or module
        ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"dpnp"``, ``"auto"``, the name of a
        plugin, or any module that follows the array API standard, as it is or by its name:
        ``dask.array``.
    device : str, optional
        As the library names it: ``"cuda:1"``.
    seed : int, or list of one for each network, optional
        Of first weights, row order and dropout, on every backend; drawn if omitted. Network i of
        an ensemble that shares nothing has the seed ``seed + i``.
    ensemble : int, optional
        Train so many networks as one: their arrays have one more axis in front. Predictions are
        the means of theirs; the loss is the mean of theirs.
    sharing : {"none", "mini", "full"}
        What the networks of an ensemble share: nothing; all but a factor of each input (TabM-mini);
        or the weight matrices, with factors of inputs and units and a bias for each (TabM).
    image_shape : sequence of int, optional
        (height, width) or (height, width, channels) of inputs that are pictures, for
        ``fit(augment=...)``.

    Attributes
    ----------
    task : Task or None
        Loss, output and metric, known after the first ``fit``, or at once if ``targets`` is given.
    epochs_trained : int
        Over all fits.
    progress : Progress or None
        Where the last training run ended; None before the first, and after one that failed.
    calibration : Calibration or None
        What ``calibrate`` has found; None after a fit. Assign None to undo it.
    augment : Augment or None
        What the last fit did to its pictures; ``predict(augment_rounds=8)`` uses it.
    metadata : dict
        Anything to save with the model, as JSON: class names, for example.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For arguments that cannot work, with the fix.
    BackendError
        If the backend cannot work here.
    GradientError
        If a custom activation's derivative is wrong, or what a custom layer returns.

    Examples
    --------
    >>> data = xpmlp.data.load("xor")
    >>> mlp = xpmlp.MLP([2, 16, 2], "tanh", backend="numpy", seed=0)
    >>> history = mlp.fit(data.X, data.y, epochs=50, optimizer=xpmlp.Adam(0.05))
    >>> mlp.evaluate(data.X_test, data.y_test)["accuracy"] > 0.9
    True
    """

    @keywords.known("fit")
    def fit(
        self,
        X: Any = None,
        y: Any = None,
        *,
        batches: Batches | None = None,
        epochs: int = 20,
        steps_per_epoch: int | None = None,
        batch_size: int | None = 128,
        optimizer: str | Optimizer = "adam",
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        validation_split: float = 0.0,
        shuffle: bool | str | Order = True,
        metrics: bool | Metrics = True,
        callbacks: Sequence[Callback] = (),
        progress: bool = False,
        data_on: str = "auto",
        continued: bool = False,
        checkpoints: str | os.PathLike[str] | Checkpoints | None = None,
        checkpoint_every: int | None = None,
        resume: bool | str | os.PathLike[str] = False,
        augment: Spec = None,
        workers: str | Communicator | None = None,
        shards: int | None = None,
        reduction: str = "tree",
        threads: int | None = None,
    ) -> History:
        """Train the model, starting from its current weights.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
            NumPy, or an array of any library on the model's device: it is imported by DLPack,
            without a copy where possible, and keeps its dtype. With a ``table``, a data frame.
            What ``xpmlp.data.open_rows`` has opened, and a memmap, stays in its file.
            SciPy's sparse matrices and arrays stay sparse on the host; only the rows of some steps
            at a time become dense, so ``batch_size=None`` makes all of them dense at once.
        y : array-like, shape (n,) or (n, sizes[-1])
            Class indices, one-hot rows, 0/1, or real values: fewer columns than outputs for a
            custom loss, and for one of several outputs for each target.
        batches : iterable of (X, y) or (X, y, sample_weight), or function, optional
            In the place of X and y: a ``DataLoader``, a list, or a function that returns a new
            generator for each epoch, which is one pass. Generators themselves are for one epoch,
            unless ``steps_per_epoch`` says how much of them an epoch is.
        epochs : int
            Passes over the data.
        steps_per_epoch : int, optional
            Batches of an epoch, for ``batches`` that are not one epoch, or have no end: each epoch
            takes those that follow. What can be iterated anew begins again after its last.
        batch_size : int, optional
            Rows per step; None, or more than n, takes all. The last batch may be smaller.
        optimizer : str or Optimizer
            ``xpmlp.Adam(1e-3)``; its state starts anew at each fit, unless ``continued``.
        sample_weight : array-like, shape (n,), optional
            A row of weight 2 counts like two rows.
        class_weight : "balanced", dict of int to float, or a list of one for each label
            Weights of the classes, by which the weights of their rows are multiplied. "balanced"
            lets all classes count alike: n/(classes · rows of the class).
        validation_data : (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch.
        validation_split : float
            Share of the rows to hold out for validation, drawn by the seed.
        shuffle : bool, "full" or callable (epoch, n) -> integers below n
            Whether epochs take the rows in a new order; "full" leaves out a smaller last batch. A
            function chooses the rows, any number of them: some may be missing, others come twice.
            Data in a file are shuffled by groups, and within a buffer: ``xpmlp.data.stored_order``.
            Epochs count over all fits.
        metrics : bool, or list of str, function or xpmlp.metrics.Measure
            Whether to measure accuracy or R² on the training batches, as well as the loss. Or what
            else to measure on the validation data after each epoch: ``metrics=["f1", "auc"]`` adds
            ``val_f1`` and ``val_auc`` to the history. ``xpmlp.metrics`` has the names.
        callbacks : sequence of Callback
            ``xpmlp.EarlyStopping(patience=5)``, for example.
        progress : bool
            Whether to print a line per epoch, by ``xpmlp.ShowProgress``.
        data_on : {"auto", "device", "host"}
            Where NumPy data are kept. ``"device"`` copies all of them before the first step.
            ``"host"`` copies the rows of some hundred steps at a time, while earlier steps run.
            ``"auto"`` chooses the host for data that take more than 0.7 of a GPU's free memory,
            and for sparse data, which ``"device"`` refuses. The steps are the same in each case;
            but with ``"auto"`` NumPy multiplies thin sparse data as they are, up to rounding.
        continued : bool
            Continue the previous fit, possibly on new data, keeping optimizer state, counters and
            history.
        checkpoints : path-like or Checkpoints, optional
            A folder for checkpoints, from which an interrupted run resumes bit for bit: see
            ``xpmlp.Checkpoints``. The last three and the best are kept.
        checkpoint_every : int, optional
            Steps between two checkpoints; after each epoch if omitted.
        resume : bool or path-like
            Resume from the newest checkpoint, or from the one given, with the same arguments,
            data and callbacks as before. If there is none yet, start a new run.
        augment : str, Augmentation, callable, or list of them, optional
            How each step varies its pictures: ``"elastic"``, ``xpmlp.augment.Rotate(10)``,
            ``["elastic", "shift:1"]``, or a function (xp, pictures, draw) -> pictures. It needs
            ``MLP(..., image_shape=(28, 28))``, and pictures whose background is 0.
        workers : {"auto", "mpi", "torch", "alone"} or Communicator, optional
            The processes that train together, each of which makes this call with the same
            arguments and data. "auto" takes those that ``mpiexec``, ``torchrun`` or ``srun``
            has started.
        shards : int, optional
            Into how many parts a batch is cut, whose gradients are added up; 8 with ``workers``.
            The result depends on it, not on the number of workers, which is no larger. Batch
            normalization takes mean and variance of a shard's rows.
        reduction : {"tree", "engine"}
            Whether gradients are added up in a fixed order, or in that of the engine, which may be
            faster and depends on the number of workers by rounding.
        threads : int, optional
            Threads of the array library in each worker, which change how it rounds: 1 with
            ``workers`` or ``shards``.

        Returns
        -------
        History
            A dict of lists, one number per epoch.

        Raises
        ------
        InvalidValueError, InvalidTypeError, GradientError
            For input or a custom loss that cannot work, before any step; the model is unchanged.
        DivergenceError
            If the loss becomes NaN or infinite; the model keeps the last good epoch's weights.
        CheckpointError
            If there are checkpoints to resume from, and none is valid.
        RunLockedError
            If another process uses the folder.
        OSError
            If a checkpoint cannot be written, or the one to resume from is missing.
        WorkerError
            If workers were called with different arguments or data, or one of them failed before
            the first step.
        DeviceMemoryError
            If the device's memory is too small; the message names a batch size that fits. The
            model keeps the last finished epoch's weights.

        Examples
        --------
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
        >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
        >>> history = mlp.fit(X, y, epochs=100, optimizer=xpmlp.SGD(0.5))
        >>> mlp.predict([[10.0]]).round(1), len(history["loss"])
        (array([21.], dtype=float32), 100)
        """
        chosen = find_optimizer(optimizer)
        epochs = whole("epochs", epochs)
        batch_size = None if batch_size is None else whole("batch_size", batch_size)
        if data_on not in ("auto", "device", "host"):
            raise unknown_name("data_on", data_on, ("auto", "device", "host"))
        callbacks, shuffle, kept = check_callbacks(callbacks), check_order(shuffle), None
        on_batches, named = asked_for(metrics)
        go_on = flag("continued", continued)
        shards = None if shards is None else whole("shards", shards)
        threads = None if threads is None else whole("threads", threads)
        form = sharded(workers, shards, reduction, threads)
        callbacks += [ShowProgress()] if flag("progress", progress) else []
        if (checkpoints, checkpoint_every, resume) != (None, None, False):
            kept = Checkpoints.of(checkpoints, checkpoint_every, resume)
        asked = Request(batch_size or 0, chosen.buffers)
        held = (validation_data, validation_split, class_weight)
        steps = None if steps_per_epoch is None else whole("steps_per_epoch", steps_per_epoch)
        if batches is None:
            if y is None:
                raise InvalidTypeError(NO_DATA)
            if steps is not None:
                raise InvalidValueError(NO_STEPS)
            stream, given = None, partial(prepare, self, X, y, sample_weight, *held)
        else:
            refuse_with_batches(
                *(X, y, sample_weight, validation_split, shuffle, batch_size, data_on, kept)
            )
            stream, asked.batch_size = Stream(batches, epochs, class_weight, steps), 0
            given = partial(prepare_first, self, stream, validation_data)
        with (
            together(form, callbacks) as callbacks,
            kept.opened(resume, form) if kept else nullcontext() as saved,
        ):
            return within_memory(
                self,
                lambda: advice_on_training(self, asked),
                train,
                given,
                asked,
                data_on,
                saved.put_into if saved else None,
                optimizer=chosen,
                epochs=epochs,
                shuffle=shuffle,
                metrics=on_batches,
                named=named,
                stream=stream,
                form=form,
                callbacks=kept.around(callbacks) if kept else callbacks,
                after=continue_from(self.progress, chosen) if go_on and not saved else None,
                augment=augment,
            )


def load(
    path: str | os.PathLike[str],
    backend: str | Backend | None = None,
    device: str | None = None,
    custom: Mapping[str, object] | None = None,
) -> MLP:
    """Read a model file, or a checkpoint, and return the ``MLP``.

    Parameters
    ----------
    path : path-like
    backend, device : optional
        As for ``MLP``; any backend can load the file of any other.
    custom : mapping of str to activation, loss or layer function, optional
        The custom functions that the file refers to by name.

    Raises
    ------
    CheckpointError
        If the file is broken, altered, of another kind or of a newer version, or names an
        unknown function.
    OSError
        If the file is missing or cannot be read.
    InvalidValueError, BackendError
        If there is no such backend, or it cannot work here.
    GradientError
        If a custom activation or layer is wrong.

    Examples
    --------
    >>> square = xpmlp.Activation("square", lambda ops, z: z * z, lambda ops, z, h: 2 * z)
    >>> xpmlp.MLP([2, 4, 1], square, backend="numpy").save("square.xpmlp")
    >>> xpmlp.load("square.xpmlp", backend="numpy", custom={"square": square}).sizes
    (2, 4, 1)
    """
    return files.load(MLP, path, backend, device, custom)
