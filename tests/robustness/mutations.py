"""Seeded damage to files, of six kinds, and what a reader makes of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator


def flip(old: bytearray, rng: Rng) -> bytearray:
    old[rng.integers(len(old))] ^= 1 << int(rng.integers(8))
    return old


def truncate(old: bytearray, rng: Rng) -> bytearray:
    return old[: rng.integers(len(old))]


def insert(old: bytearray, rng: Rng) -> bytearray:
    at = rng.integers(len(old) + 1)
    return old[:at] + rng.bytes(int(rng.integers(1, 17))) + old[at:]


def delete(old: bytearray, rng: Rng) -> bytearray:
    at = rng.integers(len(old))
    return old[:at] + old[at + rng.integers(1, 17) :]


def overwrite(old: bytearray, rng: Rng) -> bytearray:
    """With zeros, as a disk does that lost a block, or with noise."""
    at = rng.integers(len(old))
    width = min(int(rng.integers(1, 17)), len(old) - int(at))
    return old[:at] + (bytes(width) if rng.integers(2) else rng.bytes(width)) + old[at + width :]


def swap(old: bytearray, rng: Rng) -> bytearray:
    """Two pieces of the same length; where they overlap, the second is written last."""
    width = int(rng.integers(1, 17))
    a, b = (int(i) for i in rng.integers(len(old) - width, size=2))
    old[a : a + width], old[b : b + width] = old[b : b + width], old[a : a + width]
    return old


KINDS = (flip, truncate, insert, delete, overwrite, swap)


def mutants(original: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damage the same bytes anew each time, the kinds in turn; none is as it was."""
    rng, made = np.random.default_rng(seed), 0
    while made < count:
        mutant = bytes(KINDS[made % len(KINDS)](bytearray(original), rng))
        if mutant != original:
            made += 1
            yield mutant


def survivors(
    path: Path,
    original: bytes,
    load: Callable[[Path], Any],
    refusal: type[Exception],
    *,
    count: int,
    seed: int = 99,
) -> list[Any]:
    """Write mutants to a file and load each: what loaded, for the caller to judge.

    A ``refusal`` must name the file, in less than 1,000 characters; another exception is none.
    """
    loaded, messages = [], []
    for mutant in mutants(original, count, seed):
        path.write_bytes(mutant)
        try:
            loaded.append(load(path))
        except refusal as error:
            messages.append(str(error))
    assert all(str(path) in message and len(message) < 1000 for message in messages)
    return loaded
