"""``xpmlp train``: data, network, training, and a folder with the results."""

import contextlib
import os
import platform
import signal
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpmlp_backends import auto
from xpmlp_backends.registry import is_registered

import xpmlp
from xpmlp.arrays.checks import whole
from xpmlp.callbacks import EarlyStopping, ShowProgress
from xpmlp.checkpoints.folder import Checkpoints
from xpmlp.cli import calibrate as calibration
from xpmlp.cli import config, environment, recipes, workers
from xpmlp.cli.defaults import SCHEDULES, fill_in
from xpmlp.cli.output import Output
from xpmlp.cli.parser import arguments, resumed
from xpmlp.cli.runs import (
    CHECKPOINTS,
    HISTORY,
    MODEL,
    PICTURE,
    RESULT,
    SETTINGS,
    RunFolder,
    arguments_of,
)
from xpmlp.cli.tables import understood
from xpmlp.data import NAMES, Dataset, load
from xpmlp.data.images import pixel_facts
from xpmlp.data.mnist import FOLDER_VARIABLE
from xpmlp.data.picture_folder import is_labelled
from xpmlp.data.table import Table
from xpmlp.errors import InvalidValueError, MissingExtraError
from xpmlp.inspect.diagnose.diagnosis import Diagnosis
from xpmlp.inspect.plots import Part, training_picture
from xpmlp.mlp import MLP
from xpmlp.model.memory import gibibytes
from xpmlp.model.summary import rounding
from xpmlp.nn import schedules
from xpmlp.nn.optimizers import Optimizer, optimizer
from xpmlp.storage.paths import expanded
from xpmlp.training.callback import Callback
from xpmlp.training.history import History, number, score
from xpmlp.training.recipes import Recipe

PAUSE = 60.0
"""Seconds between two checkpoints, unless --checkpoint-every is given."""

VALIDATION_SPLIT = 0.1
"""Fraction of the training rows that early stopping watches."""

LOADING = ("data_dir", "label", "test_fraction", "task", "seed", "header", "decimal")
"""Options for loading the data."""

MODELING = (
    *("dropout", "normalization", "residual", "l2", "dtype", "precision", "backend", "device"),
    "seed",
)
"""Options for making the model."""

REPEATED = (
    *("activation", "dropout", "normalization", "residual", "l2", "optimizer", "lr"),
    *("schedule", "batch_size", "early_stopping", "test_fraction", "precision", "data_on"),
    *("augment", "average"),
)
"""Options that the result repeats."""


def run(args: Namespace) -> None:
    """Train as the options say.

    Raises
    ------
    XpmlpError
        For data and settings that cannot work, before a run folder is made.
    """
    begun: Path | None = None
    resume: bool | Path = False
    if args.resume is not None:
        begun, resume = RunFolder.find(args.resume)
        given, args = args.given, resumed(args, arguments_of(begun))
        if "backend" not in given:
            _refuse_import(args.backend)
        environment.prepare(args)
    if args.checkpoint_every is not None:
        whole("--checkpoint-every", args.checkpoint_every)
    form = workers.chosen(args)
    first = workers.is_first(form)
    out = Output(args.json, args.quiet) if first else Output(None, quiet=True)
    loading = {name: getattr(args, name) for name in LOADING}
    if args.data not in NAMES and is_labelled(args.data):
        out.say(f"reading the pictures in {args.data}")  # thousands take a while
    data = load(args.data, **loading, text=args.categorical or ())
    held = None
    if args.calibrate:
        data, held = calibration.hold_out(data, args.seed)
    table = understood(args, data, out)
    if args.dry_run:
        return
    recipe = recipes.chosen(args, data, table, out)
    mlp, chosen = _by_recipe(recipe, args, data, table) if recipe else _plain(args, data, table)
    if not first:
        with workers.watched(form, ""):
            fit(args, data, mlp, chosen, None, _diagnosis(args, data), out, recipe)
        return
    path, ours = (begun, False) if begun else RunFolder.free(args.out, data.name)
    held_out = "val" if args.early_stopping or recipe else "test"
    again = workers.resume_with(form)
    folder = RunFolder(path, held_out, checkpoints(args, path), out.say, resume, ours, again)
    repeated = settings(args, mlp)
    with (
        folder.owned(*repeated),
        folder.keeping(mlp),
        workers.watched(form, folder.command),
    ):
        train(args, data, held, mlp, chosen, folder, out, recipe)


def _diagnosis(args: Namespace, data: Dataset) -> Diagnosis | None:
    return Diagnosis(data.classes) if args.diagnose else None


def _refuse_import(backend: str | None) -> None:
    """Refuse a module that only the run's settings name: a file may not choose what is imported."""
    if backend and not is_registered(backend):
        raise InvalidValueError(
            f"--resume: found the backend {backend!r} in the run's settings, a module that would "
            f"be imported. If that is what you want, add --backend {backend}"
        )


def _plain(args: Namespace, data: Dataset, table: Table | None) -> tuple[MLP, Optimizer]:
    """Return the network and the optimizer that the options describe."""
    fill_in(args, len(data.X), numbers=data.classes is None)
    rate = getattr(schedules, SCHEDULES[args.schedule])(args.lr)
    chosen = replace(optimizer(args.optimizer), learning_rate=rate, average=args.average)
    return network(args, data, table), chosen


def _by_recipe(
    recipe: Recipe, args: Namespace, data: Dataset, table: Table | None
) -> tuple[MLP, Optimizer]:
    """Return the network and the optimizer of a recipe."""
    mlp = recipes.network(recipe, args, data, table)
    mlp.metadata = metadata(args, data)
    args.batch_size = recipe.batch_size
    return mlp, recipe.optimizer(list(mlp.parameters))


def train(
    args: Namespace,
    data: Dataset,
    held: calibration.Held | None,
    mlp: MLP,
    chosen: Optimizer,
    folder: RunFolder,
    out: Output,
    recipe: Recipe | None = None,
) -> None:
    """Train, calibrate, measure and draw; then mark the run as finished."""
    diagnosis = _diagnosis(args, data)
    describe(args, data, mlp, out, recipe)
    workers.describe(workers.chosen(args), out)
    try:
        history = fit(args, data, mlp, chosen, folder, diagnosis, out, recipe)
    finally:
        if diagnosis is not None:
            for line in diagnosis.report().splitlines():
                out.say(line)
    if recipe is not None:
        out.row("kept", recipes.kept(recipe, history))
    calibrated = None if held is None else calibration.calibrate(mlp, held, data)
    folder.save_model(mlp)
    result = measure(args, data, mlp, history) | {"calibration": calibrated}
    picture = draw(data, mlp, folder, history, out)
    folder.finish(result)
    report(result, mlp, folder, picture, out)
    out.record(result | {"folder": str(folder.path)})


def checkpoints(args: Namespace, folder: Path) -> Checkpoints:
    """Return where checkpoints go: every N steps if asked for, else at most once a minute."""
    if args.checkpoint_every is not None:
        return Checkpoints(folder / CHECKPOINTS, args.checkpoint_every, tell=tell)
    return Checkpoints(folder / CHECKPOINTS, keep=2, best=False, pause=PAUSE, tell=tell)


def tell(number: int) -> None:
    """Say that a signal has come, from its handler, where ``print`` must not be used."""
    again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
    # stderr may be closed, and its number another file's.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.write(sys.stderr.fileno(), f"\nfinishing the step and saving{again}\n".encode())


def settings(args: Namespace, mlp: MLP) -> tuple[list[str], bytes]:
    """Return the arguments, and a file, that repeat this run from any folder on this backend."""
    data = args.data if args.data in NAMES else str(expanded(args.data, "DATA").absolute())
    folder = args.data_dir or (args.data == "mnist" and os.environ.get(FOLDER_VARIABLE)) or None
    folder = folder and str(expanded(folder, "--data-dir").absolute())
    found = {"data": data, "data_dir": folder, "backend": mlp.backend.name}
    all_of_them = Namespace(**vars(args) | found)
    by_recipe = [name for name in recipes.PLAIN if name not in recipes.CHANGES]
    unused = () if args.recipe == "plain" else tuple(by_recipe)
    return arguments(all_of_them), config.written(all_of_them, unused)


def network(args: Namespace, data: Dataset, table: Table | None) -> MLP:
    """Make the plain network for the data."""
    width = data.X.shape[1] if table is None else table.width
    given = {name: getattr(args, name) for name in MODELING}
    given |= {"scaling": data.scaling, "targets": data.targets, "table": table}
    if args.augment:
        given["image_shape"] = pictures_of(data)
    mlp = MLP([width, *args.hidden, data.outputs], args.activation, **given)
    mlp.metadata = metadata(args, data)
    return mlp


def pictures_of(data: Dataset) -> tuple[int, int]:
    """Return the shape of a data set's pictures, which ``--augment`` needs."""
    if data.image_shape is None:
        raise InvalidValueError(
            f"--augment: found {data.name}, whose rows are no pictures; expected mnist, digits, or "
            "a folder of pictures. Leave the option out"
        )
    return data.image_shape


def metadata(args: Namespace, data: Dataset) -> dict[str, Any]:
    """Return what ``evaluate`` and ``predict`` need of the run."""
    return {
        "data": data.name,
        "classes": data.classes and list(data.classes),
        "columns": list(data.columns),
        "label": list(data.label),
        "image": data.image_form or (data.image_shape and pixel_facts(data.X, data.image_shape)),
        # With these the same test part is found again.
        "test_fraction": args.test_fraction,
        "seed": args.seed,
    }


def describe(
    args: Namespace, data: Dataset, mlp: MLP, out: Output, recipe: Recipe | None = None
) -> None:
    """Print data, network and backend."""
    shape = f" ({data.image_shape[0]}x{data.image_shape[1]} images)" if data.image_shape else ""
    goal = f"{len(data.classes)} classes" if data.classes else "real values to predict"
    rows = f"{len(data.X):,} training rows, {len(data.X_test):,} test rows"
    goal = f"{data.outputs} labels" if data.targets else goal
    columns = "columns" if mlp.table else "features"
    out.row("data", f"{data.name}: {rows}; {data.X.shape[1]} {columns}{shape}, {goal}")
    if data.image_form:
        out.row("pictures", "all cropped to the ink and centered, as xpmlp predict does it")
    layers = [
        args.activation,
        f"{args.normalization} normalization" if args.normalization else "",
        "residual" if args.residual else "",
        f"dropout {args.dropout:g}" if args.dropout else "",
    ]
    if recipe is not None:
        layers = [recipe.activation, f"recipe {recipe.name}"]
    network = f"{'-'.join(map(str, mlp.sizes))} {', '.join(filter(None, layers))}"
    count = f"{mlp.network.layout.count:,} parameters"
    out.row("network", f"{network}: {count}, {args.dtype}{rounding(mlp)}")
    if args.augment:
        out.row("augment", f"each step varies its pictures: {', '.join(args.augment)}")
    why = ""
    if (args.backend or os.environ.get("XPMLP_BACKEND") or "auto") == "auto":
        why = f", chosen because {auto()[1]}"
    out.row("backend", f"{mlp.backend.name} on {mlp.backend.device}{why}")


def fit(
    args: Namespace,
    data: Dataset,
    mlp: MLP,
    chosen: Optimizer,
    folder: RunFolder | None,
    diagnosis: Diagnosis | None,
    out: Output,
    recipe: Recipe | None = None,
) -> History:
    """Train, validating on the test part or, to choose an epoch, on some training rows.

    Only the first of several workers has a folder.
    """
    callbacks: list[Callback] = [callback for callback in (folder, diagnosis) if callback]
    if folder and not args.quiet:
        lines = None if recipe is None else recipes.LINES
        callbacks.append(ShowProgress(out.stream, folder.held_out, lines))
    test: dict[str, Any] = {}
    if recipe is not None:
        callbacks.append(recipes.best_epoch(recipe))
        test = {"validation_split": recipes.VALIDATION_SPLIT, "shuffle": "full"}
    elif args.early_stopping is not None:
        callbacks.append(EarlyStopping(args.early_stopping))
        test = {"validation_split": VALIDATION_SPLIT}
    elif len(data.X_test):
        test = {"validation_data": (data.X_test, data.y_test)}
    return mlp.fit(
        data.X,
        data.y,
        epochs=args.epochs,
        batch_size=args.batch_size,
        optimizer=chosen,
        callbacks=callbacks,
        data_on=args.data_on,
        checkpoints=folder.checkpoints if folder else checkpoints(args, Path()),
        resume=folder.resume if folder else False,
        augment=args.augment,
        workers=args.workers,
        shards=args.shards,
        reduction=args.reduction,
        **test,
    )


def measure(args: Namespace, data: Dataset, mlp: MLP, history: History) -> dict[str, Any]:
    """Return the result for scripts."""
    metric = mlp.task.measures[-1]
    test = mlp.evaluate(data.X_test, data.y_test) if len(data.X_test) else {}
    epochs, seconds = len(history["seconds"]), sum(history["seconds"])  # without validation
    return {
        f"test_{metric}": test.get(metric),
        "test_loss": test.get("loss"),
        f"train_{metric}": history[metric][-1],
        "train_loss": history["loss"][-1],
        "seconds": seconds,
        "examples_per_second": history.examples * epochs / max(seconds, 1e-9),
        "execution": history.execution._asdict(),
        "memory": history.memory and history.memory._asdict(),
        "epochs": epochs,
        "seed": args.seed,
        "shards": args.shards,
        "backend": mlp.backend.name,
        "device": str(mlp.backend.device),
        "dtype": mlp.dtype,
        "precision": mlp.backend.precision,
        "data": data.name,
        "train_rows": len(data.X),
        "test_rows": len(data.X_test),
        "sizes": list(mlp.sizes),
        "parameters": mlp.network.layout.count,
        "settings": {name: getattr(args, name) for name in repeated(args)},
        "versions": {"xpmlp": xpmlp.__version__, "python": platform.python_version()},
    }


def repeated(args: Namespace) -> list[str]:
    """Return the options that the result repeats: a recipe has its own of many."""
    left_out = () if args.recipe == "plain" else (*recipes.PLAIN, "epochs")
    kept = ("lr", "batch_size", *recipes.CHANGES)
    return ["recipe", *(name for name in REPEATED if name not in left_out or name in kept)]


def draw(data: Dataset, mlp: MLP, folder: RunFolder, history: History, out: Output) -> bool:
    """Draw the picture, and return whether matplotlib is there to do it."""
    held = ("test", data.X_test, data.y_test)
    name, X, y = held if len(data.X_test) else ("training", data.X, data.y)
    part = Part(X, y, name, data.classes, data.image_shape, data.features)
    title = f"{data.name}: {'-'.join(map(str, mlp.sizes))}, {mlp.epochs_trained} epochs"
    try:
        training_picture(folder.path / PICTURE, mlp, folder.named(history), part, title)
    except MissingExtraError as error:
        out.say(f"no picture: {error}")
        return False
    return True


def report(result: dict[str, Any], mlp: MLP, folder: RunFolder, picture: bool, out: Output) -> None:
    """Print speed, test metrics and files."""
    how = f"{result['examples_per_second']:,.0f} examples/s, steps {result['execution']['mode']}"
    if result["memory"]:
        used, total = (gibibytes(result["memory"][name]) for name in ("used", "total"))
        how += f"; {used} of {total} GPU memory in use"
    out.row("speed", how)
    for note in result["execution"]["notes"]:
        out.row("warning:", note)
    metric = mlp.task.measures[-1]
    took = f"{result['epochs']} epochs in {result['seconds']:.1f} s"
    if result["test_loss"] is None:
        out.say(f"no test part, so nothing is measured on unseen rows ({took})")
    else:
        name = {"r2": "R2"}.get(metric, metric)
        value, loss = score(metric, result[f"test_{metric}"]), number(result["test_loss"])
        out.say(f"test {name} {value}, test loss {loss} ({took})")
    if result["calibration"] is not None:
        out.say(f"calibrated {'; '.join(calibration.lines(result['calibration']))}")
    files = [MODEL, HISTORY, RESULT, config.CONFIG, SETTINGS, *([PICTURE] if picture else [])]
    out.say(f"saved in {folder.path}: {', '.join(files)}")
