"""Two data sets without a download: scikit-learn's handwritten digits, and XOR."""

import numpy as np

from xpmlp.arrays.checks import whole
from xpmlp.data.dataset import Dataset, split
from xpmlp.errors import require
from xpmlp.nn.random import Purpose, generator


def load_digits(*, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """Load the 1,797 handwritten digits of 8 by 8 pixels that come with scikit-learn.

    Parameters
    ----------
    test_fraction : float
        The test part's share, as in `xpmlp.data.load`.
    seed : int
        Seed of the split.

    Returns
    -------
    Dataset
        uint8 pixels, scaled from scikit-learn's 0..16 to 0..255, in 64 columns.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.
    InvalidValueError
        If `test_fraction` or `seed` is out of range.

    Examples
    --------
    >>> data = xpmlp.data.load_digits()
    >>> data.X.shape, data.X.dtype, data.X_test.shape, data.image_shape
    ((1438, 64), dtype('uint8'), (359, 64), (8, 8))
    >>> picture = data.X[0].reshape(data.image_shape)
    """
    datasets = require("sklearn.datasets", extra="cli", purpose="the data set 'digits'")
    pixels, labels = datasets.load_digits(return_X_y=True)
    X = np.rint(pixels * (255 / 16)).astype(np.uint8)
    y = labels.astype(np.int64)
    train, test = split(len(X), test_fraction, seed)
    parts = X[train], y[train], X[test], y[test]
    return Dataset("digits", *parts, classes=tuple("0123456789"), image_shape=(8, 8))


def make_xor(*, n: int = 300, seed: int = 0) -> Dataset:
    """Draw points of the plane, class 1 where exactly one coordinate is positive.

    Parameters
    ----------
    n : int
        Number of training points, and of test points.
    seed : int
        Seed of the points.

    Returns
    -------
    Dataset
        Standard normal float64 points of shape (n, 2), and as many fresh ones for the test.

    Raises
    ------
    InvalidValueError
        If `n` is not 1 or more, or `seed` is negative.

    Examples
    --------
    >>> points = xpmlp.data.make_xor(n=100, seed=1)
    >>> points.X.shape, points.y.shape
    ((100, 2), (100,))
    >>> one_is_positive = (points.X[:, 0] > 0) != (points.X[:, 1] > 0)
    >>> bool((points.y == one_is_positive).all())
    True
    """
    n = whole("n", n)
    points = generator(seed, Purpose.POINTS).standard_normal((2 * n, 2))
    y = ((points[:, 0] > 0) ^ (points[:, 1] > 0)).astype(np.int64)
    parts = points[:n], y[:n], points[n:], y[n:]
    return Dataset("xor", *parts, classes=("0", "1"), features=("x1", "x2"))
