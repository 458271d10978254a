"""MNIST from a folder, the cache, or public mirrors, always verified.

The SHA-256 is of the decompressed files, because mirrors compress them differently. A download is
verified in memory and written to the cache atomically: no process sees a wrong or partial file.
"""

import hashlib
import importlib.util
import io
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpmlp.data.dataset import Dataset, PathLike, opened, reading
from xpmlp.data.idx import decompressed, parse_idx, read_at_most
from xpmlp.errors import DataError, DownloadError, XpmlpError, require, short
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.paths import cache_folder, expanded

logger = logging.getLogger("xpmlp")

FOLDER_VARIABLE = "XPMLP_DATA_DIR"
"""Environment variable that names a folder with the four files."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)

FILES = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_008,
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_008,
    ),
}
"""Name, SHA-256 and size of each decompressed file: training and test images and labels."""

_SLACK = 2**16  # gzip may be this much larger than its content
_DEADLINE = 600.0  # seconds for one file from one mirror
_REMEDY = f"put the four files into a folder and name it with --data-dir or {FOLDER_VARIABLE}"


def load_mnist(
    data_dir: PathLike | None = None,
    *,
    mirrors: Sequence[str] = MIRRORS,
    cache_dir: PathLike | None = None,
    timeout: float = 30.0,
) -> Dataset:
    """Load the 60,000 training and 10,000 test images of MNIST.

    The files are looked for in `data_dir`, else in the folder that the environment variable
    ``XPMLP_DATA_DIR`` names, else in the user's cache, to which missing ones are downloaded. If
    the cache cannot be written, a warning is logged and what was downloaded is used all the same.

    Parameters
    ----------
    data_dir : str or path, optional
        Folder with the four files, gzip or not, named ``train-images-idx3-ubyte[.gz]`` or
        ``train-images.idx3-ubyte[.gz]`` and so on. If a folder is given, nothing is downloaded.
    mirrors : sequence of str
        Addresses to try in turn, each ending in ``/``.
    cache_dir : str or path, optional
        Where downloads are kept; by default in ``XPMLP_CACHE_DIR``, else in the user's cache
        folder.
    timeout : float
        Seconds a mirror may be silent.

    Returns
    -------
    Dataset
        uint8 images in 784 columns; ``image_shape`` is (28, 28).

    Raises
    ------
    DataError
        If the given folder lacks a file, or a file there is not the genuine one.
    DownloadError
        If no mirror delivers a genuine file.
    MissingExtraError
        If the cache or a download is needed and platformdirs or pooch is not installed.

    Examples
    --------
    >>> data = xpmlp.data.load_mnist()  # doctest: +SKIP
    >>> data.X.shape  # doctest: +SKIP
    (60000, 784)

    A folder without the files:

    >>> from pathlib import Path
    >>> Path("empty").mkdir()
    >>> try:
    ...     data = xpmlp.data.load_mnist("empty")
    ... except xpmlp.errors.DataError as error:
    ...     print(str(error)[:38])
    empty: MNIST is not complete there: fo
    """
    folder = data_dir if data_dir is not None else os.environ.get(FOLDER_VARIABLE) or None
    if folder is not None:
        payloads = _from_folder(expanded(folder, "data_dir"))
    else:
        cache = Path(cache_dir) if cache_dir is not None else cache_folder()
        payloads = _from_cache(cache / "mnist", mirrors, timeout)
    X, y, X_test, y_test = (
        parse_idx(io.BytesIO(payload), name) for name, payload in zip(FILES, payloads, strict=True)
    )
    return Dataset(
        name="mnist",
        X=X.reshape(len(X), -1),
        y=y.astype(np.int64),
        X_test=X_test.reshape(len(X_test), -1),
        y_test=y_test.astype(np.int64),
        classes=tuple("0123456789"),
        image_shape=(X.shape[1], X.shape[2]),
    )


def _from_folder(folder: Path) -> list[bytearray]:
    found = {name: _find(folder, name) for name in FILES}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DataError(
            f"{folder}: MNIST is not complete there: found no {', '.join(missing)} (.gz or not); "
            f"{_REMEDY}, or name no folder to download them"
        )
    return [_verified_file(path, name) for name, path in found.items() if path is not None]


def _find(folder: Path, name: str) -> Path | None:
    """Find a file under one of its four names; the cache's own name first."""
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        with reading(folder / candidate):  # a folder on the way may be closed to us
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def _verified_file(path: Path, name: str) -> bytearray:
    with opened(path) as file:
        return _verified(file, name, str(path))


def _verified(file: io.BufferedIOBase, name: str, source: str) -> bytearray:
    """Return the decompressed content if it is genuine."""
    expected, size = FILES[name]
    with decompressed(file, source) as stream:  # type: ignore[arg-type]
        payload = read_at_most(stream, size + 1)
    actual = hashlib.sha256(payload).hexdigest()
    if actual != expected:
        raise DataError(
            f"{source}: not the genuine {name}: found SHA-256 {actual} for the first "
            f"{len(payload)} decompressed bytes, expected {expected} for {size}"
        )
    return payload


def _from_cache(cache: Path, mirrors: Sequence[str], timeout: float) -> list[bytearray]:
    payloads, failure = [], None
    for name in FILES:
        payload, invalid = _cached(cache, name)
        if payload is None:
            try:
                payload = _download(name, mirrors, timeout)
            except DownloadError as error:
                if invalid is not None:
                    error.add_note(f"the cached file is not valid: {invalid}")
                raise
            try:
                write_atomically(cache / name, payload)
            except OSError as error:
                failure = error
        payloads.append(payload)
    if failure is not None:  # the data are genuine all the same
        logger.warning(
            "%s: the cache cannot be written: %s; MNIST will be downloaded again next time. To "
            "avoid that, %s",
            cache,
            failure.strerror or failure,
            _REMEDY,
        )
    return payloads


def _cached(cache: Path, name: str) -> tuple[bytearray | None, DataError | None]:
    """Return the content of a cached file, or why it is invalid: it is then downloaded again."""
    try:
        path = _find(cache, name)
        return None if path is None else _verified_file(path, name), None
    except DataError as error:
        return None, error


def _download(name: str, mirrors: Sequence[str], timeout: float) -> bytearray:
    reasons = []
    for mirror in mirrors:
        url = f"{mirror}{name}.gz"
        try:
            return _fetch(url, name, timeout)
        except (OSError, ValueError) as error:  # DataError is a ValueError
            reasons.append(f"{url}: {_cause(error, url)}")
    raise DownloadError(
        "MNIST could not be downloaded. " + "; ".join(reasons) + f". Without a network: {_REMEDY}."
    )


def _cause(error: Exception, url: str) -> str:
    """Return the cause in one line: requests wraps it in the names of three layers."""
    text = str(error).removeprefix(f"{url}: ")
    if isinstance(error, XpmlpError):
        return short(text, 400)
    return short(text.rsplit("Caused by ", 1)[-1].rsplit("): ", 1)[-1].removesuffix('"))'), 120)


def _fetch(url: str, name: str, timeout: float) -> bytearray:
    pooch = require("pooch", extra="cli", purpose="downloading MNIST")
    # pooch draws its bar with tqdm, and fails if asked for one without it
    bar = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    received = _Received(limit=FILES[name][1] + _SLACK, deadline=time.monotonic() + _DEADLINE)
    pooch.HTTPDownloader(progressbar=bar, timeout=timeout)(url, received, None)
    return _verified(io.BytesIO(received.data), name, url)


class _Received:
    """Collects a download in memory; refuses one that is too large or takes too long."""

    def __init__(self, limit: int, deadline: float) -> None:
        self.data = bytearray()
        self._limit = limit
        self._deadline = deadline

    def write(self, chunk: bytes) -> int:
        self.data += chunk
        if len(self.data) > self._limit:
            raise DataError(f"found more than {self._limit} bytes, which cannot be the file")
        if time.monotonic() > self._deadline:
            raise DataError(f"not complete after {_DEADLINE:.0f} seconds")
        return len(chunk)

    def flush(self) -> None:
        """Do nothing; pooch expects a file."""
