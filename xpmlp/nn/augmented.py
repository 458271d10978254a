"""A list of augmentations as one function of a batch, which a step calls."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any

from xpmlp.errors import InvalidValueError
from xpmlp.nn.augment import KINDS, Augmentation, Elastic, parts_of
from xpmlp.nn.functions import Array

STREAM = 1 << 27
"""Random numbers of each augmentation in a step; beyond 32 · 2²⁷ the hash comes round."""


@dataclass(frozen=True)
class Augment:
    """A list of augmentations of pictures of one shape, as one function of a batch.

    Neighbours in the list that only move pixels are one look at the picture: their matrices are
    multiplied in the order of the list, and displacements are added up (``xpmlp.nn.warp``).

    Attributes
    ----------
    parts : tuple of Augmentation or callable
    shape : tuple of int
        (h, w, c).
    flat : bool
        Whether custom functions take (n, h, w), without an axis of channels.
    """

    parts: tuple[Any, ...]
    shape: tuple[int, int, int]
    flat: bool = True

    @classmethod
    def of(cls, spec: Any, image_shape: tuple[int, ...] | None) -> "Augment | None":
        """Check the argument of ``fit``; None for nothing to do.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For what is no augmentation; if the model does not know the shape of its pictures.
        """
        if spec is None or not (parts := parts_of(spec)):
            return None
        if image_shape is None:
            raise InvalidValueError(
                "augment: this model does not know the shape of its pictures; make it with one: "
                "MLP([784, ...], image_shape=(28, 28)), or (height, width, channels)"
            )
        h, w, *c = image_shape
        return cls(parts, (h, w, *(c or [1])), not c)  # type: ignore[arg-type]

    def __call__(self, ops: Any, x: Array, key: Array, alike: bool = False) -> Array:
        """Return variants of pictures in rows, in the units that they come in.

        Parameters
        ----------
        ops : Ops
        x : Array, shape (n, h · w · c) or (k, n, h · w · c)
        key : Array of int32, shape (2,) or (3,), or with an axis of k in front
            Of k networks each has its pictures, and those that it would have alone.
        alike : bool
            Whether all pictures change in the same way.
        """
        xp, whole = ops.xp, x.shape
        x = xp.reshape(x, (-1, whole[-1]))
        number = 0
        for moves, group in groupby(self.parts, _moves):
            run = list(group)
            draws = [
                partial(self._drawn, ops, key, 1 if alike else whole[-2], x.dtype, number + i)
                for i in range(len(run))
            ]
            number += len(run)
            if moves:
                x = self._warped(ops, x, run, draws)
            else:
                for part, draw in zip(run, draws, strict=True):
                    x = self._changed(ops, x, part, draw)
        return xp.reshape(x, whole)

    def _drawn(
        self, ops: Any, key: Array, n: int, dtype: Any, number: int, count: int, field: bool = False
    ) -> Array:
        """Return numbers of each picture, (n, count); or a field, (h, n, 2, w)."""
        xp, front, (h, w, _) = ops.xp, key.shape[:-1], self.shape
        shape = (h, n, 2, w) if field else (n, count)
        made = ops.uniform(key, (*front, *shape), number * STREAM, dtype)
        if front and field:  # the rows of all networks' fields, then those fields
            made = xp.permute_dims(made, (1, 0, 2, 3, 4))
        return xp.reshape(made, (h, -1, 2, w) if field else (-1, count))

    def _warped(self, ops: Any, x: Array, run: list[Any], draws: list[Any]) -> Array:
        """Return what pictures have where a run of augmentations looks."""
        field, total = None, IDENTITY
        for part, draw in zip(run, draws, strict=True):
            if isinstance(part, Elastic):
                one = part.displacements(ops, draw(0, field=True))
                field = one if field is None else field + one
            else:
                u = draw(part.numbers)
                total = _after(total, part.map(ops.xp, [u[:, i] for i in range(part.numbers)]))
        return ops.warped(x, _as_rows(ops.xp, total), field, self.shape)

    def _changed(self, ops: Any, x: Array, part: Any, draw: Any) -> Array:
        """Return pictures that an augmentation of pixels, or a custom one, has changed."""
        xp, custom = ops.xp, not isinstance(part, Augmentation)
        shape = (-1, *self.shape[:2]) if custom and self.flat else (-1, *self.shape)
        pictures = xp.reshape(x, shape)
        made = part(xp, pictures, draw) if custom else part.changed(ops, pictures, draw)
        if custom and (tuple(made.shape), made.dtype) != (tuple(pictures.shape), pictures.dtype):
            raise InvalidValueError(
                f"augment: the function {getattr(part, '__name__', part)} returned {made.dtype} of "
                f"shape {tuple(made.shape)}; expected {pictures.dtype} of shape "
                f"{tuple(pictures.shape)}, as it was given"
            )
        return xp.reshape(made, x.shape)

    def to_config(self) -> list[Any]:
        """Return the list as JSON, for model files: names with settings, and names of functions."""
        return [
            [part.name, asdict(part)]
            if isinstance(part, Augmentation)
            else [getattr(part, "__name__", "custom"), None]
            for part in self.parts
        ]

    @classmethod
    def from_config(
        cls, config: list[Any], image_shape: Any, custom: Mapping[str, Any]
    ) -> "Augment | None":
        """Return what ``to_config`` describes; None if it has a function that is not in ``custom``.

        A model predicts without it, so its file can be read.

        Raises
        ------
        ValueError, TypeError, KeyError
            For what ``to_config`` does not make.
        """
        parts = []
        for name, settings in config:
            if settings is None:
                if name not in custom:
                    return None
                parts.append(custom[name])
            else:
                parts.append(KINDS[name](**settings))
        return cls.of(parts, tuple(image_shape))


def _moves(part: Any) -> bool:
    return isinstance(part, Elastic) or hasattr(part, "numbers")


# Maps (a₀₀, a₀₁, t₀, a₁₀, a₁₁, t₁) of arrays (n,) or of numbers that all pictures have

IDENTITY: tuple[Any, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _after(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the map of an augmentation after others: s(p) is old(new(p)), A_old A_new."""

    def times(a: Any, b: Any) -> Any:
        if 0.0 in (x := [y for y in (a, b) if isinstance(y, float)]):
            return 0.0
        return a * b if x.count(1.0) < 1 else b if isinstance(a, float) else a

    def plus(a: Any, b: Any) -> Any:
        zero = [isinstance(y, float) and y == 0.0 for y in (a, b)]
        return b if zero[0] else a if zero[1] else a + b

    def row(i: int) -> tuple[Any, ...]:
        a, b, t = old[3 * i : 3 * i + 3]
        across = [plus(times(a, new[j]), times(b, new[3 + j])) for j in range(3)]
        return across[0], across[1], plus(across[2], t)

    return (*row(0), *row(1))


def _as_rows(xp: Any, total: tuple[Any, ...]) -> Array | None:
    """Return maps as an array, (n, 6); None for the identity."""
    like = next((a for a in total if not isinstance(a, float)), None)
    if like is None:
        return None
    zeros = xp.zeros_like(like)
    return xp.stack([zeros + a if isinstance(a, float) else a for a in total], axis=1)
