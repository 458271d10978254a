"""Augmented pictures: against SciPy's sampling, worked numbers, and each other's backends."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from scipy import ndimage

import xpmlp
from xpmlp.augment import Elastic, Erase, Noise, Rotate, Scale, Shear, Shift
from xpmlp.nn.augment import KINDS
from xpmlp.nn.augmented import Augment
from xpmlp.nn.ops import Ops
from xpmlp.nn.random import augment_keys, uniform
from xpmlp.nn.warp import gaussian

pytestmark = pytest.mark.sampled(2)

SHAPES = [(7, 9), (6, 5, 3)]
KEY = augment_keys(3, 1, 1)[0, 0]


def pictures(shape: tuple[int, ...], n: int = 4, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(0).random((n, int(np.prod(shape)))).astype(dtype) * 255


def changed(
    backend: Any, spec: Any, x: np.ndarray, shape: tuple[int, ...], **options: Any
) -> np.ndarray:
    made = Augment.of(spec, shape)
    assert made is not None

    def pictures_of(key: Any, unused: Any, x: Any) -> Any:
        return made(backend.ops, x, key, **options)

    key, given = backend.asarray(KEY), backend.asarray(x)
    if backend.name == "jax":  # operation by operation it takes ten times as long
        pictures_of = backend.compile_forward(pictures_of)
    return np.asarray(backend.to_numpy(pictures_of(key, key, given)))


def looked_up(
    x: np.ndarray, shape: tuple[int, ...], A: np.ndarray, t: np.ndarray, d: Any = 0.0
) -> np.ndarray:
    """What SciPy finds at c + A (p − c) + t + d(p), one picture and channel at a time."""
    h, w, c = (*shape, 1)[:3]
    middle = (np.array([h, w]) - 1)[:, None, None] / 2
    p = np.indices((h, w)) - middle
    out = np.empty((len(x), h, w, c))
    for b, picture in enumerate(x.reshape(-1, h, w, c)):
        s = np.einsum("ij,jpq->ipq", A[b], p) + t[b][:, None, None] + middle
        s = s + (d[b] if np.ndim(d) else d)
        for k in range(c):
            padded = np.pad(picture[..., k], 1)  # SciPy does not interpolate to what is outside
            out[b, ..., k] = ndimage.map_coordinates(padded, s + 1, order=1, cval=0.0)
    return out.reshape(x.shape)


def drawn(count: int, n: int, number: int = 0) -> np.ndarray:
    """The numbers of each picture that an augmentation gets, by its place in the list."""
    with np.errstate(over="ignore"):
        return np.asarray(uniform(np, KEY, (n, count), number << 27, np.float64))


def matrices(part: Any, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A and t, written down by hand."""
    n = len(u)
    A, t = np.tile(np.eye(2), (n, 1, 1)), np.zeros((n, 2))
    for b in range(n):
        if isinstance(part, Shift):
            t[b] = part.strength * u[b]
        elif isinstance(part, Rotate):
            a = np.deg2rad(part.strength * u[b, 0])
            A[b] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
        elif isinstance(part, Scale):
            A[b] = np.diag(1 / (1 + part.strength * u[b]))
        else:
            A[b, 1, 0] = part.strength * u[b, 0]
    return A, t


def field_of(part: Elastic, shape: tuple[int, ...], n: int, number: int = 0) -> np.ndarray:
    """Displacements (n, 2, h, w): a random field that SciPy smooths."""
    h, w = shape[:2]
    field = drawn(1, h * n * 2 * w, number).reshape(h, n, 2, w).transpose(1, 2, 0, 3)
    apart = np.arange(-40, 41)
    kernel = np.exp(-(apart**2) / (2 * part.sigma**2)) / (part.sigma * np.sqrt(2 * np.pi))
    for axis in (2, 3):
        field = ndimage.convolve1d(field, kernel, axis=axis, mode="constant")
    return part.strength * field


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [Shift(1.7), Rotate(40), Scale(0.4), Shear(0.6)], ids=str)
def test_pixels_come_from_where_a_map_says(backend: Any, part: Any, shape: Any) -> None:
    x = pictures(shape)
    A, t = matrices(part, drawn(part.numbers, len(x)))
    assert_close(changed(backend, part, x, shape), looked_up(x, shape, A, t), atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_elastic_moves_pixels_by_a_smoothed_field(backend: Any, shape: Any) -> None:
    part, x = Elastic(9.0, 1.5), pictures(shape)
    d = field_of(part, shape, len(x))
    assert 0.5 < np.abs(d).max() < 5
    A, t = matrices(Shift(0), np.zeros((len(x), 2)))
    assert_close(changed(backend, part, x, shape), looked_up(x, shape, A, t, d), atol=1e-9)


def test_a_list_is_one_look_at_the_picture(backend: Any) -> None:
    """The maps in the order of the list, the displacement added; sampling twice would blur."""
    shape, parts = (7, 9), [Rotate(30), Elastic(9.0, 1.5), Shift(1.0), Scale(0.3), Shear(0.4)]
    x = pictures(shape)
    A, t = matrices(Shift(0), np.zeros((len(x), 2)))
    d = np.zeros((len(x), 2, *shape))
    for i, part in enumerate(parts):
        if isinstance(part, Elastic):
            d += field_of(part, shape, len(x), i)
        else:
            B, s = matrices(part, drawn(part.numbers, len(x), i))
            t, A = np.einsum("bij,bj->bi", A, s) + t, A @ B
    assert_close(changed(backend, parts, x, shape), looked_up(x, shape, A, t, d), atol=1e-9)


@pytest.mark.parametrize("spec", ["elastic", ["elastic", "rotate", "scale", "shear", "shift"]])
def test_pictures_are_the_same_on_every_backend(backend: Any, spec: Any) -> None:
    """In float32, within 1e-5 of the range of the pixels, which are as uneven as can be."""
    shape, x = (28, 28), pictures((28, 28), 8, "float32")
    ops = Ops.reference(np, None)
    made: Any = Augment.of(spec, shape)
    with np.errstate(over="ignore"):
        expected = made(ops, x, KEY)
    assert_close(changed(backend, spec, x, shape), expected, atol=1e-5 * 255)


@pytest.mark.parametrize("shape", SHAPES)
def test_erase_sets_a_rectangle_to_0(backend: Any, shape: Any) -> None:
    x = pictures(shape, 200) + 1
    found = changed(backend, Erase(0.5), x, shape).reshape(-1, *shape)
    holes = found == 0
    assert (found[~holes] == x.reshape(found.shape)[~holes]).all()
    sizes = []
    for hole in holes.reshape(*holes.shape[:3], -1):
        assert (hole == hole[..., :1]).all(), "all channels have the same hole"
        rows, columns = hole[..., 0].any(axis=1), hole[..., 0].any(axis=0)
        assert (hole[..., 0] == rows[:, None] & columns).all()
        for line in (rows, columns):
            at = np.flatnonzero(line)
            assert not at.size or np.ptp(at) + 1 == at.size, "without gaps"
        sizes.append((rows.sum(), columns.sum()))
    assert np.max(sizes, axis=0).tolist() == [round(0.5 * n) for n in shape[:2]]
    assert np.min(sizes) == 0
    for n, line in zip(shape, (holes.any(axis=2), holes.any(axis=1)), strict=False):
        where = line.reshape(200, -1)[:, :n].any(axis=0)
        assert where.all(), "each row and column is in some hole"


def test_noise_is_normal(backend: Any) -> None:
    x = np.zeros((40, 400))
    found = changed(backend, Noise(3.0), x, (20, 20)).ravel() / 3
    assert abs(found.mean()) < 5 / np.sqrt(found.size)
    assert abs(found.std() - 1) < 0.04
    assert abs(np.mean(np.abs(found) < 1) - 0.6827) < 0.02
    assert np.abs(found).max() > 3


def test_numbers_fill_their_range_and_differ_between_augmentations(backend: Any) -> None:
    xp, key = backend.ops.xp, backend.asarray(KEY)
    made = [
        np.asarray(backend.to_numpy(backend.ops.uniform(key, (50, 40), first << 27, xp.float64)))
        for first in (0, 1, 31)
    ]
    for numbers in made:
        assert -1 <= numbers.min() < -0.99
        assert 0.99 < numbers.max() < 1
        assert abs(numbers.mean()) < 5 * np.sqrt(1 / 3 / numbers.size)
    for one, other in pairwise(made):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.12


def test_networks_get_the_pictures_that_each_would_have_alone(backend: Any) -> None:
    shape, x = (7, 9), pictures((7, 9), 6).reshape(2, 3, -1)
    keys = augment_keys(5, 0, 2)[:, 0]
    made: Any = Augment.of(["elastic", "rotate", "noise"], shape)
    both = made(backend.ops, backend.asarray(x), backend.asarray(keys))
    for i, key in enumerate(keys):
        alone = made(backend.ops, backend.asarray(x[i]), backend.asarray(key))
        assert_close(backend.to_numpy(both)[i], backend.to_numpy(alone), atol=1e-10)


@pytest.mark.parametrize("spec", sorted(KINDS))
def test_pictures_that_change_alike(backend: Any, spec: str) -> None:
    """Each as if it were the only one: what is predicted does not depend on other rows."""
    shape, x = (7, 9), pictures((7, 9), 5)
    several = [spec] * 6  # some holes are empty
    together = changed(backend, several, x, shape, alike=True)
    for row, found in zip(x, together, strict=True):
        assert_close(found, changed(backend, several, row[None], shape, alike=True)[0], atol=1e-9)
    assert (together != x).any()


def test_strength_0_is_the_picture_bit_for_bit(backend: Any) -> None:
    assert Augment.of([kind(0.0) for kind in KINDS.values()], (7, 9)) is None
    x = pictures((7, 9), dtype="float32")
    nothing = Augment((Shift(0), Rotate(0), Scale(0), Shear(0), Elastic(0), Noise(0)), (7, 9, 1))
    found = backend.to_numpy(nothing(backend.ops, backend.asarray(x), backend.asarray(KEY)))
    np.testing.assert_array_equal(found, x)


def test_what_leaves_the_picture_is_gone_and_what_comes_in_is_0(backend: Any) -> None:
    x = np.ones((50, 25))
    found = changed(backend, Shift(100.0), x, (5, 5))
    assert ((found >= 0) & (found <= 1)).all()
    assert (found.sum(axis=1) == 0).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_custom_function_gets_pictures_and_numbers(backend: Any, shape: Any) -> None:
    seen: list[Any] = []

    def darker(xp: Any, pictures: Any, draw: Any) -> Any:
        share = draw(1)
        seen.append((tuple(pictures.shape), tuple(share.shape)))
        return pictures * xp.reshape(0.5 + 0.5 * share, (-1, *(1 for _ in pictures.shape[1:])))

    x = pictures(shape)
    found = changed(backend, ["shift:0", darker], x, shape)
    assert_close(found, x * (0.5 + 0.5 * drawn(1, len(x))), atol=1e-9)
    assert seen[0] == ((len(x), *shape), (len(x), 1))


def test_a_custom_function_that_returns_another_shape_is_refused() -> None:
    def smaller(xp: Any, pictures: Any, draw: Any) -> Any:
        return pictures[:, 1:, :]

    with pytest.raises(xpmlp.errors.InvalidValueError, match=r"smaller returned .* \(4, 6, 9\)"):
        changed(make_backend("numpy"), smaller, pictures((7, 9)), (7, 9))


def test_a_gaussian_sums_to_1_within_the_picture() -> None:
    rows = gaussian(np, None, 41, 3.0, np.float64)
    assert_close(rows[20].sum(), 1.0, rtol=1e-9)
    assert_close(rows, rows.T)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("elastik", "Did you mean 'elastic'"),
        ("rotate:x", "a number after the colon, such as rotate:15"),
        ("rotate:-1", "Rotate, strength: found -1.0; expected a number from 0 to 180"),
        ("scale:1", "from 0 to 0.9"),
        (3, "augment: found 3; expected one of shift"),
        (Shift, "expected one of shift"),
    ],
)
def test_what_is_no_augmentation_is_refused(spec: Any, says: str) -> None:
    with pytest.raises(xpmlp.XpmlpError, match=says):
        Augment.of(spec, (7, 9))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(xpmlp.errors.InvalidTypeError, match="found 'a'; expected a number"):
        Shift("a")  # type: ignore[arg-type]
    with pytest.raises(xpmlp.errors.InvalidValueError, match=r"expected 0\.3 pixels or more"):
        Elastic(1.0, 0.1)
    for huge in (10**400, float("nan"), float("inf")):
        with pytest.raises(xpmlp.errors.InvalidValueError, match="expected a number from 0 to 1e"):
            Noise(huge)
    with pytest.raises(xpmlp.errors.InvalidValueError, match="does not know the shape"):
        Augment.of("shift", None)
