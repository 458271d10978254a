"""What an embedding needs of the inputs: codes that are in range, and the bins of numbers."""

from typing import Any

import numpy as np

from xpmlp.arrays.robust import ROUNDING
from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Model
from xpmlp.nn.numeric import BINS, ENDLESS


def check_codes(model: Model, x: Rows, name: str = "X") -> None:
    """Refuse inputs whose categories are not codes of the model's embedding.

    Raises
    ------
    InvalidValueError
        With the first place.
    """
    embedding = model.network.architecture.embedding
    for index, codes in () if embedding is None else embedding.categories:
        column = x.columns([index])[:, 0]
        bad = (column < 0) | (column >= codes) | (column != np.floor(column))
        if bad.any():
            row = int(bad.argmax())
            raise InvalidValueError(
                f"{name}: found {column[row]} at {name}[{row}, {index}]; expected a code of 0 to "
                f"{codes - 1}, as the model's embedding has them. Number the categories so, or "
                "give the embedding as many codes as there are"
            )


def bins_of(values: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Return the bins of a piecewise-linear embedding: edges, slopes, and limits below and above.

    Bins have equally many of the values; bins of equal edges are joined. A column with fewer than
    ``count`` has some without width, of slope 0, between its first bins and its last one. After the
    bins come x itself, and 1.

    Parameters
    ----------
    values : ndarray, shape (n, columns)

    Returns
    -------
    edge, slope, low, high : ndarray of float64, shape (columns, count + 2)
    """
    edge, slope, low = (np.zeros((values.shape[1], count + 2)) for _ in range(3))
    high = np.ones_like(low)
    slope[:, -2], low[:, -2], high[:, -2], low[:, -1] = 1.0, -ENDLESS, ENDLESS, 1.0
    for j, column in enumerate(values.astype(np.float64).T):
        ends = np.quantile(column, np.linspace(0.0, 1.0, count + 1))
        apart = np.diff(ends) > ROUNDING * np.abs(ends).max()
        ends = ends[np.append(True, apart)]
        if len(ends) < 2:
            continue
        places = [*range(len(ends) - 2), count - 1]
        edge[j, places], slope[j, places] = ends[:-1], 1.0 / np.diff(ends)
        low[j, places[0]], high[j, count - 1] = -ENDLESS, ENDLESS
    return edge, slope, low, high


def first_bins(model: Model, x: Rows, scaling: Any) -> dict[str, np.ndarray] | None:
    """Return the bins by name, in the network's units, if it needs them and has none yet.

    Parameters
    ----------
    x : Rows
        Training inputs, as steps take them.
    scaling : Scaling
        The scaling that steps apply.
    """
    embedding = model.network.architecture.embedding
    if embedding is None or BINS[0] not in model.network.statistics.slots:
        return None
    if model.state_dict()[BINS[1]].any():
        return None
    which = np.array(embedding.embedded(model.sizes[0]))
    some = x.sample(which.tolist()).astype(np.float64)
    for a, f in ((scaling.shift, np.subtract), (scaling.scale, np.multiply)):
        if a is not None and not x.scaled:
            some = f(some, a[which] if len(a) > 1 else a)
    slots = model.network.statistics.slots  # each network that shares nothing has the same bins
    found = zip(BINS, bins_of(some, embedding.bins), strict=True)
    return {name: np.broadcast_to(values, slots[name].shape) for name, values in found}
