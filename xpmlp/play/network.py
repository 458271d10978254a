"""From settings to data, network and optimizer: the arguments that "show as Python" writes, too."""

from pathlib import Path
from typing import Any

from xpmlp import schedules
from xpmlp.errors import DataError, InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import OPTIMIZERS, Optimizer
from xpmlp.play.points import Problem, digits, make_points, table_points
from xpmlp.play.settings import POINTS, SCHEDULES, Settings
from xpmlp.tutorial.original import SlippedPenalty

CLASSES, INPUTS = 20, 100
"""The largest number of classes and of inputs that the page takes."""


def data_call(settings: Settings, path: Path | None) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the function that makes the data, and its arguments.

    Raises
    ------
    InvalidValueError
        If the data are a table, and there is none.
    """
    common = {"test_share": settings.test_share, "seed": settings.seed}
    if settings.data in POINTS:
        given = {"n": settings.points, "noise": settings.noise}
        return make_points, (settings.data,), given | common
    if settings.data == "digits":
        return digits, (), common
    if path is None:
        raise InvalidValueError("data: found 'table', but no table was sent; open a file first")
    chosen = {"label": settings.label, "columns": list(settings.columns)}
    return table_points, (path,), chosen | common


def problem_of(settings: Settings, path: Path | None = None) -> Problem:
    """Return the data of these settings; ``path`` is the user's table.

    Raises
    ------
    DataError, InvalidValueError
        If there are none, or they are too large for the page.
    """
    make, places, names = data_call(settings, path)
    problem: Problem = make(*places, **names)
    if len(problem.classes or ()) > CLASSES:
        found = len(problem.classes or ())
        raise DataError(f"the label has {found} classes; the page shows at most {CLASSES}")
    if len(problem.inputs) > INPUTS:
        raise DataError(
            f"the columns become {len(problem.inputs)} inputs; the page shows at most {INPUTS}: "
            "choose some columns"
        )
    return problem


def outputs(settings: Settings, problem: Problem) -> tuple[int, str]:
    """Return the units of the output layer, and what the targets are, as ``xpmlp.MLP`` says it."""
    if problem.classes is None:
        return 1, "values"
    if len(problem.classes) == 2 and settings.loss in ("auto", "binary_cross_entropy"):
        return 1, "binary"
    return len(problem.classes), "labels"


def network_arguments(settings: Settings, problem: Problem) -> dict[str, Any]:
    """Return the arguments of ``xpmlp.MLP``, in its order."""
    last, targets = outputs(settings, problem)
    return {
        "sizes": [len(problem.inputs), *settings.hidden, last],
        "activation": settings.activation,
        "loss": None if settings.loss == "auto" else settings.loss,
        "targets": targets,
        "dropout": settings.dropout,
        "normalization": settings.normalization,
        "bias": settings.bias,
        "initializer": settings.initializer,
        "l1": settings.l1,
        "l2": settings.l2,
        "scaling": problem.scaling,
        "backend": settings.backend,
        "seed": settings.seed,
    }


def network_of(settings: Settings, problem: Problem) -> MLP:
    """Return the untrained network.

    Raises
    ------
    InvalidValueError, BackendError
        For settings that do not go together, or a backend that does not work here.
    """
    mlp = MLP(**network_arguments(settings, problem), table=problem.table)
    if settings.slip:
        mlp.penalty = SlippedPenalty(l1=settings.l1, l2=settings.l2)
    split = {"test_fraction": settings.test_share, "seed": settings.seed}
    classes = problem.classes and list(problem.classes)
    mlp.metadata = {"classes": classes} | (problem.metadata or {}) | split
    return mlp


def optimizer_arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments of the optimizer's class."""
    rate: Any = settings.learning_rate
    if settings.schedule != "constant":
        rate = getattr(schedules, SCHEDULES[settings.schedule])(rate)
    clip = {} if settings.clip_norm is None else {"clip_norm": settings.clip_norm}
    return {"learning_rate": rate} | clip


def optimizer_of(settings: Settings) -> Optimizer:
    """Return the optimizer with its learning rate and schedule."""
    return OPTIMIZERS[settings.optimizer](**optimizer_arguments(settings))


def fit_arguments(settings: Settings, problem: Problem) -> dict[str, Any]:
    """Return the other arguments of ``fit``."""
    return {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "validation_data": problem.held_out,
    }
