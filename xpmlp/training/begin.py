"""From the arguments of ``fit`` to a run: the data are checked and placed, the run is made."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Form, Model
from xpmlp.model.measures import Measure, chosen
from xpmlp.model.memory import Request
from xpmlp.model.predict import thin
from xpmlp.nn.augmented import Augment
from xpmlp.training.advice import warn_of_inputs, warn_of_loss
from xpmlp.training.history import History
from xpmlp.training.loop import Training
from xpmlp.training.prepare import TrainingData, refuse_single_rows
from xpmlp.training.shards import refuse_to_cut
from xpmlp.training.stream import Stream, StreamTraining


def begun(
    model: Model,
    given: TrainingData,
    asked: Request,
    data_on: str,
    named: Any,
    stream: Stream | None = None,
    augment: Any = None,
    form: Form | None = None,
    **options: Any,
) -> Training:
    """Place the data, give the model what it has learned of them, and return the run.

    ``asked`` is completed as the data become known.
    """
    n = given.x.count
    asked.batch_size = min(asked.batch_size or n, n)
    refuse_single_rows(model, asked.batch_size)
    if form is not None:
        refuse_to_cut(model, asked.batch_size, form, stream)
    measures = _measures(named, given)
    asked.data = given.host_bytes
    given = given.placed(model.backend, data_on)
    asked.on_host = given.x.on_host
    given.settle_inputs(model)
    model.calibration = None
    model.augment = augmented(model, given, augment)
    given = replace(given, x=thin(model, given.x)) if data_on == "auto" else given
    model.set_task(given.task)
    options |= {"given": given, "batch_size": asked.batch_size, "named": measures, "form": form}
    if stream is not None:
        return StreamTraining(model, stream=stream, **options)
    return Training(model, **options)


def augmented(model: Model, given: TrainingData, spec: Any) -> Augment | None:
    """Return what is done to the pictures of each batch, which must come in as they are.

    Raises
    ------
    InvalidValueError, InvalidTypeError
    """
    made = Augment.of(spec, model.network.architecture.image_shape)
    if made is not None and (given.x.scaled or model.table is not None or model.network.codes):
        raise InvalidValueError(
            "augment: found inputs that are scaled before a step gets them, by a table or "
            f"scaling={model.scaling.mode!r}, or that are codes; expected pictures whose "
            "background is 0. Leave the table out, and use scaling='auto' or None"
        )
    return made


def _measures(named: Any, given: TrainingData) -> tuple[Measure, ...]:
    """Return what else to measure on the validation data; the task's own metric is measured."""
    measures = chosen(named, given.task)
    more = tuple(m for m in measures if m.name not in given.task.measures)
    if more and given.validation is None:
        raise InvalidValueError(
            f"metrics: found {more[0].name!r} without validation data, on which named metrics are "
            "measured; give validation_data or validation_split"
        )
    for measure in more:
        measure.check(given.validation.weight if given.validation else None)
    return more


def train(
    model: Model,
    prepare: Callable[[], TrainingData],
    asked: Request,
    data_on: str,
    restore: Callable[[Model], None] | None,
    **options: Any,
) -> History:
    """Prepare the data and train. All arrays are local here, so they are free after a failure.

    The model is unchanged if training fails before the first epoch has begun, or runs out of memory
    in it. ``restore`` sets the model to the state in a checkpoint.
    """
    training: Training | None = None
    undo: Callable[[], None] | None = model.restore_point()
    try:
        if restore is not None:  # first: a split of the data follows the seed
            restore(model)
        given = prepare()
        epochs = model.epochs_trained
        told = warn_of_inputs(model, given)
        training = begun(model, given, asked, data_on, **options)
        del given  # what is on the device now need not be twice on the host
        training.undo, undo = undo, None
        history = training.run()
        if not told:
            warn_of_loss(training)
        return history
    except BaseException as error:
        undo = undo if training is None else training.undo
        has_begun = training is not None and training.begun
        ran_out = isinstance(error, Exception) and model.backend.ran_out(error)
        if undo and (not has_begun or (ran_out and model.epochs_trained == epochs)):
            undo()
        raise
