"""The container of model files: safetensors, a configuration in its metadata, a SHA-256 over all.

The safetensors format has no checksum, and a flipped bit in a weight is still a weight, so the
digest of configuration, names, dtypes, shapes and bytes travels in the metadata. Nothing is
unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from xpmlp.atomic import write_atomically
from xpmlp.errors import CheckpointError, InvalidValueError

FORMAT = 1
"""Version of the configuration; a reader refuses files with a higher one."""


def write(path: Path, config: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file atomically.

    Raises
    ------
    InvalidValueError
        If the metadata in the configuration cannot be written as JSON, or would come back as
        something else.
    OSError
        If the file cannot be written; an old file of that name is then as it was.
    """
    try:
        text = json.dumps({"format": FORMAT, **config}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"metadata: cannot be written as JSON: {error}") from error
    if json.loads(text)["metadata"] != config["metadata"]:
        raise InvalidValueError("metadata: JSON has text as keys, and lists but no tuples")
    metadata = {"xpmlp": text, "sha256": _digest(text, tensors)}
    write_atomically(path, safetensors.numpy.save(dict(tensors), metadata))


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read configuration and arrays, and compare the digest.

    Raises
    ------
    CheckpointError
        If the file is broken, altered, of another kind or of a newer version.
    FileNotFoundError
        If there is no such file.
    """
    content = path.read_bytes()
    try:
        tensors = safetensors.numpy.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        text, digest = metadata["xpmlp"], metadata["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a readable xpmlp model file ({type(error).__name__}: {error}); expected "
            "one written by mlp.save(), complete and unaltered"
        ) from error
    if digest != _digest(text, tensors):
        raise CheckpointError(
            f"{path}: the content does not match its SHA-256, so it was altered or damaged after "
            "it was saved; use another copy"
        )
    try:
        config: dict[str, Any] = json.loads(text)
        version = entry(config, "format", int)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: its configuration cannot be read: {error}") from error
    if not 1 <= version <= FORMAT:
        raise CheckpointError(
            f"{path}: file format {version}; this version of xpmlp reads 1 to {FORMAT}. "
            "Upgrade xpmlp for a higher one"
        )
    return config, tensors


def entry(config: Mapping[str, Any], key: str, kind: Any) -> Any:
    """Return an entry that must have a type; KeyError or TypeError otherwise."""
    value = config[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{key} is {value!r}")
    return value


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the configuration and every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
