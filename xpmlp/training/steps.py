"""``Loop``: the epochs and steps of ``fit``, for a custom training loop.

It is the same run, with the same plan, and the same compiled step: ``fit`` walks through the
epochs, here the caller does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from xpmlp.arrays.checks import whole
from xpmlp.errors import InvalidValueError
from xpmlp.model.backends import on_device
from xpmlp.model.base import Model
from xpmlp.model.class_weight import ClassWeight
from xpmlp.model.measures import Metrics, asked_for
from xpmlp.model.members import refuse_ensemble
from xpmlp.model.memory import Request
from xpmlp.nn.augment import Spec
from xpmlp.nn.contract import Array
from xpmlp.nn.layers import Pass
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.optimizers import optimizer as find_optimizer
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.step import TrainingStep
from xpmlp.training.batch import Batch, check
from xpmlp.training.batches import Order, check_order
from xpmlp.training.begin import begun
from xpmlp.training.history import History
from xpmlp.training.loop import Training
from xpmlp.training.prepare import prepare


class Loop:
    """The steps of ``fit``, taken one by one.

    ``batches`` gives the batches of an epoch, ``step`` trains on one. With all of them, epoch after
    epoch, the weights are those of ``fit`` bit for bit. Instead of ``step``, ``gradient`` and
    ``update`` do it in two, so that a gradient can be looked at, changed or added up. When the
    batches of an epoch end, the model gets the weights, and the history a row.

    Parameters
    ----------
    mlp : MLP
    X, y, batch_size, optimizer, sample_weight, class_weight, validation_data, shuffle, metrics
        As for ``MLP.fit``, and so is ``augment``. ``gradient`` measures no accuracy.
    epochs : int
        How many there will be at most: schedules run over them.

    Attributes
    ----------
    mlp : MLP
        With the weights of the last finished epoch.
    history : History
        As ``fit`` returns it.
    rows : int
        Rows of X.

    Raises
    ------
    InvalidValueError, InvalidTypeError, GradientError
        As ``MLP.fit``; the model is unchanged.

    Examples
    --------
    >>> points = xpmlp.data.make_xor(n=100)
    >>> mlp = xpmlp.MLP([2, 8, 2], "tanh", backend="numpy", seed=0)
    >>> loop = xpmlp.Loop(mlp, points.X, points.y, epochs=3, optimizer=xpmlp.Adam(0.05))
    >>> for epoch in range(3):
    ...     for batch in loop.batches():
    ...         loop.step(batch)
    >>> len(loop.history["loss"]), mlp.epochs_trained
    (3, 3)
    """

    def __init__(
        self,
        mlp: Model,
        X: Any,
        y: Any,
        *,
        epochs: int = 20,
        batch_size: int | None = 128,
        optimizer: str | Optimizer = "adam",
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        shuffle: bool | str | Order = True,
        metrics: bool | Metrics = True,
        augment: Spec = None,
    ) -> None:
        self.mlp, self.backend = mlp, mlp.backend
        chosen, epochs = find_optimizer(optimizer), whole("epochs", epochs)
        size = 0 if batch_size is None else whole("batch_size", batch_size)
        on_batches, named = asked_for(metrics)
        undo = mlp.restore_point()
        try:
            with mlp.backend.current():
                given = prepare(mlp, X, y, sample_weight, validation_data, 0.0, class_weight)
                self.training: Training = begun(
                    mlp,
                    given,
                    Request(size, chosen.buffers),
                    "auto",
                    named,
                    optimizer=chosen,
                    epochs=epochs,
                    shuffle=check_order(shuffle),
                    metrics=on_batches,
                    sampled=True,
                    augment=augment,
                )
        except BaseException:
            undo()
            raise
        self.rows = given.x.count
        self._weight = given.weight
        self._now: Batch | None = None
        self._epoch: Iterator[Batch] | None = None
        self._updated = False

    @property
    def history(self) -> History:
        """What has been measured, a number for each finished epoch.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
        >>> loop = xpmlp.Loop(mlp, [[1.0], [2.0]], [2.0, 4.0], epochs=1)
        >>> loop.step(next(loop.batches()))
        >>> list(loop.history)
        []
        """
        return self.training.history

    def batches(self, rows: Any = None) -> Iterator[Batch]:
        """Begin an epoch, and yield its batches; take each with ``step``, or ``update``.

        When they end, the epoch is finished; so it is by ``break``, after the steps that were
        taken. Without a step the epoch does not count.

        Parameters
        ----------
        rows : array-like of int, optional
            Which rows of X to take, in this order and any number of them; by default as
            ``shuffle`` says. Other sizes of the last batch are compiled anew.

        Raises
        ------
        InvalidValueError
            If all epochs are over, or there are no such rows.
        DivergenceError
            When they end, if the loss or a weight is not finite; the model keeps the weights of the
            epoch before.

        Examples
        --------
        >>> points = xpmlp.data.make_xor(n=100)
        >>> mlp = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0)
        >>> loop = xpmlp.Loop(mlp, points.X, points.y, epochs=1, batch_size=32)
        >>> some = np.flatnonzero(points.y == 1).repeat(2)  # class 1 alone, each row twice
        >>> sum(batch.rows.size for batch in loop.batches(some)) == len(some)
        True
        """
        self._close()
        run = self.training
        if run.finished >= run.epochs:
            raise InvalidValueError(
                f"batches: all {run.epochs} epochs are over; make the loop with more: "
                "Loop(..., epochs=...)"
            )
        self._epoch = self._batches(rows)
        return self._epoch

    @on_device
    def step(self, batch: Batch) -> None:
        """Train on a batch: what ``fit`` does in a step.

        Raises
        ------
        InvalidValueError
            If it is not the batch that ``batches`` has just given, or only a part of it.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
        >>> loop = xpmlp.Loop(mlp, [[1.0], [2.0]], [2.0, 4.0], epochs=1)
        >>> for batch in loop.batches():
        ...     loop.step(batch)
        >>> loop.loss > 0
        True
        """
        check(batch, self._now, whole_one=True)
        k = batch._chunk.start
        self.training.take_steps(batch._chunk._replace(stop=k + 1))
        self._now = None

    @on_device
    def gradient(self, batch: Batch) -> tuple[Array, Array]:
        """Return the loss of a batch, or of a part of it, and its gradient by all parameters.

        With dropout, and with the penalty. Running statistics of batch normalization are those
        after this pass.

        Returns
        -------
        loss : Array, shape ()
        gradient : Array, shape (parameters,)
            On the device, flat, as ``update`` takes it. ``by_name`` takes it apart.

        Raises
        ------
        InvalidValueError
            If it is not the batch that ``batches`` has just given; for an ensemble.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
        >>> loop = xpmlp.Loop(mlp, [[1.0], [3.0]], [2.0, 2.0], epochs=1)
        >>> loss, gradient = loop.gradient(next(loop.batches()))
        >>> float(loss), loop.by_name(gradient)["dense1.W"]
        (2.0, array([[-4.]], dtype=float32))
        """
        check(batch, self._now)
        step, state, (data, plan, k, _) = self._step, self.training.state, batch._chunk
        xp, network, (part, start, stop) = step.ops.xp, self.mlp.network, batch._part
        params = network.layout.views(xp, state.params)
        # Parts of a batch drop other units than each other: the hash begins elsewhere.
        keys = plan.keys[k, ...] + part
        x, y, weight = step.batch(data, plan.rows[k, start:stop], state.params.dtype, keys)
        run = Pass(
            training=True,
            keys=keys if network.dropouts else None,
            statistics=network.statistics.views(xp, state.statistics),
        )
        value, grads, _ = step.gradient(params, x, y, weight, run)
        if not self.mlp.penalty.is_zero:
            penalty = batch.penalty(self.mlp.penalty)
            for name in network.weights:
                more, grads[name] = step.ops.penalize(penalty, params[name], grads[name])
                value = value + more
        gradient = self.flat(grads)
        statistics = step.statistics(state.statistics, run)
        self.training.state = state._replace(statistics=statistics)
        return xp.asarray(value, copy=True), gradient

    @on_device
    def update(self, batch: Batch, loss: Array, gradient: Array) -> None:
        """Let the optimizer take its step with a gradient: its rate is that of this batch's step.

        Parameters
        ----------
        batch : Batch
            The whole batch.
        loss : Array or float
            For the history.
        gradient : Array, shape (parameters,)

        Raises
        ------
        InvalidValueError
            If it is not the batch that ``batches`` has just given; for a gradient of another shape.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
        >>> loop = xpmlp.Loop(mlp, [[1.0]], [2.0], epochs=1, optimizer=xpmlp.SGD(0.5))
        >>> for batch in loop.batches():
        ...     loop.update(batch, *loop.gradient(batch))
        >>> mlp.predict([[1.0]])
        array([2.], dtype=float32)
        """
        check(batch, self._now, whole_one=True)
        step, state, plan = self._step, self.training.state, batch._chunk.plan
        xp, size = step.ops.xp, batch.rows.shape[-1]
        if tuple(gradient.shape) != tuple(state.params.shape):
            raise InvalidValueError(
                f"gradient: found shape {tuple(gradient.shape)}; expected "
                f"{tuple(state.params.shape)}, as gradient(batch) returns it"
            )
        value = xp.zeros_like(state.loss) + loss
        sums = step.ops.accumulate(state.totals, state.carry, state.finite, value, size, None)
        c = plan.coefficients[batch._chunk.start, ...]
        params, moments = step.update(state, gradient, c)
        totals, carry, finite = sums
        self.training.state = state._replace(
            params=params, moments=moments, loss=value, totals=totals, carry=carry, finite=finite
        )
        self.training.step += 1
        self._now, self._updated = None, True

    def by_name(self, gradient: Array) -> dict[str, Array]:
        """Return the parts of a flat gradient by parameter, as views where the library has them.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 3], targets="labels", backend="numpy")
        >>> loop = xpmlp.Loop(mlp, [[1.0, 0.0]], [2], epochs=1)
        >>> _, gradient = loop.gradient(next(loop.batches()))
        >>> {name: g.shape for name, g in loop.by_name(gradient).items()}
        {'dense1.W': (2, 3), 'dense1.b': (3,)}
        """
        return self.mlp.network.layout.views(self.backend.xp, gradient)

    def flat(self, gradient: Mapping[str, Array]) -> Array:
        """Return a gradient by parameter as the flat one that ``update`` takes: every name counts.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 3], targets="labels", backend="numpy")
        >>> loop = xpmlp.Loop(mlp, [[1.0, 0.0]], [2], epochs=1)
        >>> _, gradient = loop.gradient(next(loop.batches()))
        >>> bool((loop.flat(loop.by_name(gradient)) == gradient).all())
        True
        """
        xp, layout = self.backend.xp, self.mlp.network.layout
        if wrong := set(gradient) ^ set(layout.slots):
            raise InvalidValueError(
                f"gradient: missing or unknown: {', '.join(sorted(map(str, wrong)))}; expected "
                f"exactly {', '.join(layout.slots)}"
            )
        out = xp.zeros_like(self.training.state.params)
        return self.backend.ops.pack(layout, gradient, out, layout.views(xp, out))

    @property
    def loss(self) -> float:
        """Loss of the last step; reading it waits for the device.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
        >>> loop = xpmlp.Loop(mlp, [[1.0]], [2.0], epochs=1)
        >>> for batch in loop.batches():
        ...     loop.step(batch)
        >>> loop.loss
        2.0
        """
        return self.training.batch_loss

    def _batches(self, rows: Any) -> Iterator[Batch]:
        run, current = self.training, self.backend.current
        run.epoch, run.step, self._updated = run.finished, 0, False
        with current():
            chunks = run.begin_epoch(rows)
        each = (one for plan in run.plans for one in plan.rows)
        number = 0
        try:
            while True:
                with current():
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                for k in range(chunk.start, chunk.stop):
                    taken = next(each)
                    weight = None if self._weight is None else self._weight[taken]
                    part = (0, 0, taken.shape[-1])
                    one = chunk._replace(start=k)
                    self._now = Batch(number, taken, 1.0, one, weight, part)
                    number += 1
                    yield self._now
        finally:
            self._now = None
            with current():
                self._finish()

    def _finish(self) -> None:
        """Finish the epoch, of the steps that were taken; the model can continue from here."""
        run = self.training
        if not run.step:
            return
        if run.step < run.steps:
            size = run.batch_size
            run.steps, run.examples = run.step, min(run.step * size, run.examples)
        measures = run.metrics
        if self._updated:
            run.refuse_loss()
            run.metrics = False  # gradients measure no accuracy
        run.finish_epoch()
        run.metrics = measures
        run.step, self.mlp.progress = 0, run.ended()

    def _close(self) -> None:
        """Finish an epoch that somebody has left."""
        if self._epoch is not None:
            self._epoch.close()  # type: ignore[attr-defined]
        self._epoch = None

    @cached_property
    def _step(self) -> TrainingStep:
        """The step without penalty: a part of a batch has that of the whole."""
        refuse_ensemble(self.mlp, "gradient")
        made = self.mlp.make_step(self.training.optimizer, metrics=False)
        return replace(made, penalty=Penalty(max_norm=self.mlp.penalty.max_norm))
