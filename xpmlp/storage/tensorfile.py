"""The format of model files: safetensors, with a configuration and a SHA-256 in its metadata.

Safetensors has no checksum, and a flipped bit in a weight gives another valid weight: so there is a
digest of configuration, names, dtypes, shapes and bytes. Files are untrusted: nothing is
unpickled, everything is checked.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from xpmlp.errors import CheckpointError, InvalidValueError, naming, short
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.paths import open_regular

FORMAT = 2
"""Version of the configuration; higher ones are refused.

1 is a model; 2 is a checkpoint, with the entry ``training`` and its arrays.
"""

MAX_HEADER = 2 * 2**20
"""The longest header, in bytes: parsed JSON can take thirty times its length in memory."""

_UNREADABLE = (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def write(path: Path, config: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file; errors are those of `pack` and `write_atomically`."""
    write_atomically(path, pack(config, tensors))


def pack(config: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a file.

    Raises
    ------
    InvalidValueError
        If the configuration cannot be written as JSON, its metadata would be read back as
        something else, an array is not numeric, or the header is longer than `MAX_HEADER`.
    """
    version = {"format": 2 if "training" in config else 1}
    what = "metadata"
    try:
        to_json(config[what])
        what = "settings"
        text = to_json(version | config)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"{what}: cannot be written as JSON: {error}") from error
    if json.loads(text)["metadata"] != config["metadata"]:
        raise InvalidValueError("metadata: JSON has text as keys, and lists but no tuples")
    # The file has no strides and byte order, so all arrays get the same.
    native = {
        name: np.array(x, dtype=x.dtype.newbyteorder("="), order="C", copy=None)
        for name, x in tensors.items()
    }
    metadata = {"xpmlp": text, "sha256": _digest(text, native)}
    try:
        content = safetensors.numpy.save(native, metadata)
    except SafetensorError as error:
        raise InvalidValueError(f"an array cannot be written: {error}") from error
    if (length := int.from_bytes(content[:8], "little")) > MAX_HEADER:
        raise InvalidValueError(
            f"metadata: makes a header of {length} bytes, expected at most {MAX_HEADER}; keep "
            "large things in a file of their own"
        )
    return content


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the configuration and the arrays, and check the digest.

    Raises
    ------
    CheckpointError
        If the file is broken, altered, of another kind or of a newer version.
    FileNotFoundError
        If there is no such file.
    """
    metadata, content = _parts(path)
    try:
        text, digest = metadata["xpmlp"], metadata["sha256"]
        tensors = safetensors.numpy.load(content)
        intact = digest == _digest(text, tensors)
    except _UNREADABLE as error:
        raise _unreadable(path, _said(error)) from error
    if not intact:
        raise CheckpointError(
            f"{path}: the content does not match its SHA-256, so it was altered or damaged after "
            "it was saved; use another copy"
        )
    try:
        config: dict[str, Any] = json.loads(text)
        version = entry(config, "format", int)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its configuration cannot be read: {short(error)}"
        ) from error
    if not 1 <= version <= FORMAT:
        raise CheckpointError(
            f"{path}: file format {short(version)}; this version of xpmlp reads 1 to {FORMAT}. "
            "Upgrade xpmlp for a higher one"
        )
    return config, tensors


def _parts(path: Path) -> tuple[Any, bytes]:
    """Return the metadata and all bytes, after checking that the header describes as many.

    Memory stays within the file's size and a constant for the header.
    """
    with naming(path), open_regular(path, CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise _unreadable(path, f"a header of {length} bytes, more than {MAX_HEADER}")
        if 8 + length > size:
            raise _unreadable(path, f"found {size} bytes, fewer than its header: truncated")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__")
            ends = (tensor["data_offsets"][1] for tensor in header.values())
            expected = 8 + length + max(ends, default=0)
        except _UNREADABLE as error:
            raise _unreadable(path, _said(error)) from error
        if size != expected:
            raise CheckpointError(
                f"{path}: found {size} bytes, expected {short(expected)}, as its header says; it "
                "was truncated or altered, use another copy"
            )
        file.seek(0)
        return metadata, file.read(size)


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: not a readable xpmlp model file ({reason}); expected one written by mlp.save(), "
        "complete and unaltered"
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {short(error)}"


def to_json(value: Any) -> str:
    """Return strict JSON, with NumPy's numbers as Python's.

    Raises TypeError, ValueError or RecursionError for what JSON does not have.
    """

    def plain(x: Any) -> Any:
        if isinstance(x, np.generic):
            return x.item()
        raise TypeError(f"found a {type(x).__name__}, {short(x)}")

    return json.dumps(value, sort_keys=True, allow_nan=False, default=plain)


def entry(config: Mapping[str, Any], key: str, kind: Any) -> Any:
    """Return an entry of the given type; KeyError or TypeError otherwise."""
    value = config[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{key} is {short(repr(value))}")
    return value


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of the configuration and every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
