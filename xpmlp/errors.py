"""The errors xpmlp raises, each also a builtin so that ordinary ``except`` clauses catch it.

A message says what (the file or parameter), what was found, what was expected, and the remedy.
"""

import contextlib
import difflib
import importlib
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


class XpmlpError(Exception):
    """Base of every error that xpmlp raises on purpose.

    Examples
    --------
    >>> try:
    ...     xpmlp.MLP([2, 2], activation="rellu")
    ... except xpmlp.XpmlpError as error:
    ...     print(type(error).__name__, str(error)[:48])
    InvalidValueError unknown activation 'rellu'. Did you mean 'relu'?
    """


class InvalidValueError(XpmlpError, ValueError):
    """An argument or input array has a value, name or shape that cannot work.

    Examples
    --------
    >>> try:
    ...     xpmlp.MLP([2, 2], backend="numpy").predict([[1.0, 2.0]])
    ... except ValueError as error:
    ...     print(error)
    this model has not been trained: call fit(X, y) first
    """


class InvalidTypeError(XpmlpError, TypeError):
    """An argument or input array has the wrong type, dtype, or array library.

    Examples
    --------
    >>> try:
    ...     xpmlp.MLP([2, 2], loss=0.5)
    ... except TypeError as error:
    ...     print(str(error)[:15])
    loss: found 0.5
    """


class DataError(XpmlpError, ValueError):
    """A data file is missing a part, broken, or not of its format.

    Examples
    --------
    >>> try:
    ...     xpmlp.data.load("nowhere.csv")
    ... except xpmlp.errors.DataError as error:
    ...     print(str(error)[:25])
    no such file: nowhere.csv
    """


class CheckpointError(XpmlpError, ValueError):
    """A model file is broken, altered, or from a newer version.

    Examples
    --------
    >>> xpmlp.MLP([2, 2], backend="numpy").save("model.xpmlp")
    >>> with open("model.xpmlp", "r+b") as file:
    ...     position, written = file.seek(-1, 2), file.write(b"?")
    >>> try:
    ...     xpmlp.load("model.xpmlp", backend="numpy")
    ... except xpmlp.errors.CheckpointError as error:
    ...     print(str(error)[:58])
    model.xpmlp: the content does not match its SHA-256, so it
    """


class GradientError(XpmlpError, ArithmeticError):
    """A custom function's derivative is wrong, or a result has a wrong shape or dtype.

    Examples
    --------
    >>> wrong = (lambda xp, z: z * z, lambda xp, z: z)  # the derivative is 2 z
    >>> try:
    ...     xpmlp.MLP([2, 4, 2], activation=wrong, backend="numpy")
    ... except xpmlp.errors.GradientError as error:
    ...     print(str(error)[:22])
    activation '<lambda>':
    """


class DivergenceError(XpmlpError, ArithmeticError):
    """The training loss became NaN or infinite.

    Attributes
    ----------
    networks : tuple of int
        Of an ensemble, those that diverged.

    Examples
    --------
    >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
    >>> try:
    ...     mlp.fit([[1.0], [2.0]], [2.5, 4.5], optimizer=xpmlp.SGD(1e30))
    ... except xpmlp.errors.DivergenceError as error:
    ...     print(str(error)[:21])
    the training diverged
    """

    networks: tuple[int, ...] = ()


class WorkerError(XpmlpError, RuntimeError):
    """Workers that should train together do not agree, or one of them has failed.

    Examples
    --------
    >>> try:
    ...     raise xpmlp.errors.WorkerError("worker 1 has another seed")
    ... except xpmlp.errors.WorkerError as error:
    ...     print(error)
    worker 1 has another seed
    """


class BackendError(XpmlpError, RuntimeError):
    """A backend was asked for by name and cannot work here.

    Examples
    --------
    >>> try:
    ...     mlp = xpmlp.MLP([2, 2], backend="cupy")
    ... except xpmlp.errors.BackendError as error:
    ...     mlp = xpmlp.MLP([2, 2], backend="numpy")
    """


class DeviceMemoryError(XpmlpError, MemoryError):
    """The device ran out of memory; the model has the weights of its last finished epoch.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy"), xpmlp.data.make_xor(n=100)
    >>> try:
    ...     history = mlp.fit(points.X, points.y, batch_size=None, epochs=5)
    ... except xpmlp.errors.DeviceMemoryError as error:
    ...     print(error)  # names a batch size that fits
    """


class DownloadError(XpmlpError, OSError):
    """A download failed, or what arrived is not what was expected.

    Examples
    --------
    >>> mirrors = ["http://127.0.0.1:9/"]
    >>> try:
    ...     xpmlp.data.load_mnist(cache_dir="cache", mirrors=mirrors, timeout=1.0)
    ... except xpmlp.errors.DownloadError as error:
    ...     print("MNIST is not there; train on digits instead")
    MNIST is not there; train on digits instead
    """


class RunLockedError(XpmlpError, OSError):
    """Another process or thread trains in the same folder.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy"), xpmlp.data.make_xor(n=100)
    >>> class Second(xpmlp.Callback):
    ...     def on_epoch_end(self, training):
    ...         mlp.copy().fit(points.X, points.y, checkpoints="run")
    >>> try:
    ...     mlp.fit(points.X, points.y, checkpoints="run", callbacks=[Second()])
    ... except xpmlp.errors.RunLockedError as error:
    ...     print("another training run uses the folder")
    another training run uses the folder
    """


class MissingExtraError(XpmlpError, ImportError):
    """An optional dependency is not installed.

    Examples
    --------
    >>> try:
    ...     data = xpmlp.data.load("digits")
    ... except xpmlp.errors.MissingExtraError as error:
    ...     print(error)  # with the command that installs the package
    """


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an ``OSError`` the name of the file, which a failing read or write does not know."""
    try:
        yield
    except OSError as error:
        # Also instead of a temporary file's name, which would tell the user nothing.
        error.filename = os.fspath(path)
        del error.filename2  # None would be shown as the name of a second file
        raise


def unknown_name(
    kind: str, found: object, names: Iterable[str], aliases: Mapping[str, Sequence[str]] = {}
) -> InvalidValueError:
    """Build the error for an unknown name, with the nearest valid ones suggested.

    These are what the name means elsewhere, by ``aliases``; or those that it is a part of; or the
    one that is spelt most like it.
    """
    names, text = sorted(names), str(found)[:100].lower()
    part = text.replace("_", "").replace("-", "").replace(" ", "")
    near = aliases.get(text) or [
        name for name in names if len(part) > 4 and part in name.replace("_", "")
    ]
    near = near or difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InvalidValueError(
        f"unknown {kind} {short(repr(found))}.{hint} Known: {', '.join(names)}."
    )


def flag(name: str, value: Any) -> bool:
    """Return an argument that is true or false.

    Raises
    ------
    InvalidTypeError
        For anything else: a text is never false.
    """
    if type(value).__name__ not in ("bool", "bool_"):  # NumPy's, too
        raise InvalidTypeError(f"{name}: found {short(repr(value))}; expected True or False")
    return bool(value)


def require_between(
    owner: str,
    name: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuse a number outside its interval: InvalidValueError."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise InvalidValueError(f"{owner}: {name} is {value!r}; expected a number in {interval}")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn from the line of the first caller outside xpmlp and scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in (
        "xpmlp",
        "sklearn",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def short(text: object, limit: int = 200) -> str:
    """Cut a text to ``limit`` characters: what a file says may be of any length."""
    words = str(text)
    return words if len(words) <= limit else f"{words[: limit - 3]}..."


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional dependency; MissingExtraError with the install command if it is missing.

    `extra` is the extra of xpmlp that installs it, if one does; `purpose` is the subject of the
    message: ``"drawing curves"``.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the module is installed, but something in it is broken
        package = module.split(".")[0]
        install = f"'xpmlp[{extra}]'" if extra else package
        raise MissingExtraError(
            f"{purpose} needs {package}, which is not installed: pip install {install}"
        ) from error
