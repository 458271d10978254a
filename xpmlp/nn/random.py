"""Random numbers that are the same on every backend.

The array API has no random numbers. Weights, the order of the examples and splits are drawn by
NumPy's Philox on the host, keyed by (seed, purpose, index), so every backend starts from the same
numbers and any epoch can be drawn again without the ones before it. Dropout needs a number for each
element, too many to copy, so its mask is a stateless hash in integer arithmetic that every library
has, keyed by two words from the host for each step and layer.
"""

from enum import IntEnum
from math import prod
from typing import Any

import numpy as np

from xpmlp.errors import InvalidTypeError, InvalidValueError

Array = Any


class Purpose(IntEnum):
    """What a stream of random numbers is for. The values are part of the file format."""

    WEIGHTS = 0
    SHUFFLE = 1
    DROPOUT = 2
    SPLIT = 3
    POINTS = 4
    SIGNS = 5
    BIASES = 6
    EMBEDDINGS = 7
    AUGMENT = 8


def generator(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """Return the Philox generator for one purpose; ``index`` is the epoch or the layer, or 0.

    A further number, which is not 0, tells the streams of one epoch apart.

    Raises
    ------
    InvalidValueError
        If the seed is not a whole number of 0 or more.
    """
    words = (as_seed(seed), purpose, *(index or (0,)))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def as_seed(seed: int) -> int:
    """Return a seed as Python's int, after checking that it is a whole number, 0 or more."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidValueError(f"seed: found {seed!r}; expected a whole number, 0 or more")
    return int(seed)


def seeds_of(seed: Any, count: int | None) -> tuple[int, ...]:
    """Return the seeds of ``count`` networks: the one given and those after it, or as given.

    Parameters
    ----------
    seed : int or sequence of int
    count : int or None
        None if there is one seed: of one network, or of several that share weights.

    Raises
    ------
    InvalidValueError, InvalidTypeError
    """
    if not isinstance(seed, list | tuple | np.ndarray):
        first = as_seed(seed)
        return tuple(range(first, first + (count or 1)))
    if count is None:
        raise InvalidTypeError(
            f"seed: found {len(seed)} seeds; expected one. Only networks that share nothing have "
            "several: MLP(..., ensemble=k, seed=[...])"
        )
    if len(seed) != count:
        raise InvalidValueError(f"seed: found {len(seed)} seeds for ensemble={count}")
    return tuple(map(as_seed, seed))


def fresh_seed() -> int:
    """Draw a seed from the operating system, for ``seed=None``; the model records it."""
    return int(np.random.SeedSequence().generate_state(1)[0])


def row_dtype(n: int) -> type[np.signedinteger[Any]]:
    """Return the dtype of the numbers of n rows: int32, or int64 from 2³¹ rows on."""
    return np.int32 if n <= 2**31 else np.int64


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order of ``n`` examples in an epoch: shape (n,), of ``row_dtype``."""
    return generator(seed, Purpose.SHUFFLE, epoch).permutation(n).astype(row_dtype(n))


def as_order(rows: Any, n: int, found: str = "shuffle: the function returned") -> np.ndarray:
    """Check the rows of an epoch, any number of those below n, and convert them to ``row_dtype``.

    Raises
    ------
    InvalidValueError
    """
    order = np.asarray(rows)
    right = order.ndim == 1 and order.size > 0 and order.dtype.kind in "iu"
    if not right or order.min() < 0 or order.max() >= n:
        ends = (
            f", {order.min()} to {order.max()}" if order.size and order.dtype.kind in "iuf" else ""
        )
        raise InvalidValueError(
            f"{found} {order.dtype} of shape {order.shape}{ends}; expected one integer or more, "
            f"0 to {n - 1}"
        )
    return order.astype(row_dtype(n))


def dropout_keys(seed: int, epoch: int, steps: int, layers: int, rates: Any = None) -> np.ndarray:
    """Draw two key words for each step and dropout layer: int32, shape (steps, layers, 2).

    With ``rates``, shape (steps, layers), a third word has the threshold of each.
    """
    if not layers:
        return np.zeros((steps, 0, 2), np.int32)
    drawn = generator(seed, Purpose.DROPOUT, epoch).integers(
        0, 2**32, size=(steps, layers, 2), dtype=np.uint32
    )
    words = drawn.view(np.int32)
    if rates is None:
        return words
    thresholds = np.floor(np.asarray(rates) * 2.0**32) - 2.0**31
    return np.concatenate([words, thresholds.astype(np.int32)[..., None]], axis=-1)


def augment_keys(seed: int, epoch: int, steps: int, words: int = 2) -> np.ndarray:
    """Draw a step's key for ``xpmlp.nn.augment``: int32, shape (steps, 1, words), 0 from the third.

    They are a stream of their own, so dropout is the same with augmentation as without.
    """
    drawn = generator(seed, Purpose.AUGMENT, epoch).integers(
        0, 2**32, size=(steps, 1, 2), dtype=np.uint32
    )
    return np.pad(drawn.view(np.int32), ((0, 0), (0, 0), (0, words - 2)))


def shard_keys(xp: Any, keys: Array, shard: int) -> Array:
    """Return the keys with which one shard of a batch drops units, others than other shards.

    The hash of an element begins elsewhere, and so does its second round. Shard 0 has the keys of a
    batch that is not cut. A third word, the threshold of a scheduled rate, stays.
    """
    if not shard or not keys.shape[-2]:
        return keys
    words = xp.asarray([shard, shard, 0][: keys.shape[-1]], dtype=keys.dtype, device=keys.device)
    return keys + words


def _int32(word: int) -> int:
    """Write a 32-bit constant as the signed number with the same bits."""
    return word - (1 << 32) if word >= 1 << 31 else word


_GOLDEN = _int32(0x9E3779B9)  # 2**32 / golden ratio: spreads consecutive element numbers
_M1, _M2 = _int32(0x7FEB352D), _int32(0x846CA68B)


def dropout_mask(
    xp: Any, key: Array, shape: tuple[int, ...], rate: float | None, dtype: Any, device: Any = None
) -> Array:
    """Return a mask, the same on every backend: 0 with probability ``rate``, else 1/(1 − rate).

    The hash is the two-round multiply-xorshift mixer "lowbias32" (C. Wellons, "Prospecting for
    Hash Functions", 2018) over the element's number, with one key word added before and one
    between the rounds. It is written in int32, whose products wrap around in every library;
    int32 shifts copy the sign, hence the masks that make them logical shifts.

    Parameters
    ----------
    xp : module
        Array API namespace.
    key : Array of int32, shape (2,) or (3,), or with an axis of k in front
        The step's and layer's key words; for a scheduled rate, its threshold as well. Of k
        networks, whose masks then do not depend on each other, and are those of each alone.
    shape : tuple of int
        Shape of the mask, (k, ...) for k keys; at most 2**31 elements.
    rate : float or None
        Probability of a zero, in [0, 1); None if the key has it.
    dtype : dtype
        Floating dtype of the mask.
    device : object, optional
        Where to create the mask.

    Returns
    -------
    Array of ``dtype``, shape ``shape``
    """
    x = _hashed(xp, key, prod(shape[key.ndim - 1 :]), device)
    threshold, kept = threshold_and_kept(xp, key, rate, dtype)
    return xp.reshape(xp.astype(x >= threshold, dtype) * kept, shape)


def _hashed(xp: Any, key: Array, count: int, device: Any, first: int = 0) -> Array:
    """Return the hashes of elements ``first`` and those after it: int32, shape (..., count)."""
    start = first_element(first)
    x = xp.arange(count, dtype=xp.int32, device=device) * _GOLDEN + key[..., 0:1]
    x = x + start if start else x
    x = (x ^ ((x >> 16) & 0xFFFF)) * _M1 + key[..., 1:2]
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _M2
    return x ^ ((x >> 16) & 0xFFFF)


def first_element(first: int) -> int:
    """Return what the hash adds to the key where element numbers begin at ``first``: an int32."""
    return _int32(first * 0x9E3779B9 & 0xFFFFFFFF)


def uniform(
    xp: Any, key: Array, shape: tuple[int, ...], first: int, dtype: Any, device: Any = None
) -> Array:
    """Return numbers from −1 to 1, the same bits on every backend; reference of ``ops.uniform``.

    They are the upper 24 bits of ``dropout_mask``'s hash, times 2⁻²³: float32 holds them exactly.

    Parameters
    ----------
    xp : module
    key : Array of int32, shape (2,) or (3,), or with an axis of k in front
        The key words; a third is ignored.
    shape : tuple of int
        (k, ...) for k keys.
    first : int
        The first element's number: other numbers of the same key begin elsewhere.
    dtype : dtype
    device : object, optional

    Returns
    -------
    Array of ``dtype``, shape ``shape``
    """
    x = _hashed(xp, key, prod(shape[key.ndim - 1 :]), device, first)
    return xp.reshape(xp.astype(x >> 8, dtype) * 2.0**-23, shape)


def threshold_and_kept(xp: Any, key: Array, rate: float | None, dtype: Any) -> tuple[Any, Any]:
    """Return below which int32 a share ``rate`` of all of them is, and 1/(1 − rate).

    With T = 2³² rate − 2³¹ from the key, 1/(1 − rate) = 2³²/(2³¹ − T).
    """
    if rate is not None:
        return int(rate * 2**32) - 2**31, 1.0 / (1.0 - rate)
    threshold = key[..., 2:3]
    return threshold, 2.0**32 / (2.0**31 - xp.astype(threshold, dtype))


def dropped(ops: Any, x: Array, key: Array, rate: float | None) -> tuple[Array, Any]:
    """x · mask, and the mask; the reference of ``ops.dropout``. Without a rate, the key has it.

    A backend may return whatever else its ``dropout_grad`` and ``dense_activation_grad`` take for
    a mask: it can be computed again from the key.
    """
    mask = ops.dropout_mask(key, x.shape, rate, x.dtype)
    return x * mask, mask


def dropped_grad(ops: Any, dy: Array, mask: Any) -> Array:
    """dx = dy · mask; the reference of ``ops.dropout_grad``."""
    return dy * mask
