"""From figures of rows to those of a batch, and from batches to an epoch."""

from typing import Any

Array = Any


def assess(
    ops: Any, loss: Any, metric: Any, z: Array, y: Array, weight: Array | None
) -> tuple[Array, Array, Array | None]:
    """The batch's loss, its gradient, and the metric by rows: all that follows from the outputs.

    Parameters
    ----------
    ops : Ops
    loss : Loss
    metric : Metric or None
    z : Array, shape (n, outputs)
    y : Array, shape (n,) or (n, outputs)
    weight : Array, shape (n,), or None

    Returns
    -------
    value : Array, shape ()
    dz : Array, shape (n, outputs)
    score : Array, shape (n,), or None
        A backend may return sums of several rows instead: their total is what counts.
    """
    rows, dz = loss(ops, z, y)
    score = None if metric is None else metric.rows(ops, z, y)
    value, dz = ops.batch_mean(rows, dz, weight)
    return value, dz, score


def batch_mean(xp: Any, rows: Array, dz: Array, weight: Array | None) -> tuple[Array, Array]:
    """The batch's loss Σ wᵢ rᵢ/Σ wᵢ from the rows' losses r, and its gradient dzᵢ wᵢ/Σ wᵢ.

    Parameters
    ----------
    rows : Array, shape (n,)
    dz : Array, shape (n, outputs)
    weight : Array, shape (n,), or None
        None means all ones.

    Returns
    -------
    value : Array, shape ()
    dz : Array, shape (n, outputs)
    """
    if weight is None:
        return xp.mean(rows), dz * (1.0 / rows.shape[0])
    total = xp.maximum(xp.sum(weight), float(xp.finfo(rows.dtype).smallest_normal))
    share = weight / total
    return xp.sum(rows * share), dz * share[:, None]


def accumulate(
    xp: Any,
    totals: Array,
    carry: Array,
    finite: Array,
    value: Array,
    n: int,
    score: Array | None,
) -> tuple[Array, Array, Array]:
    """Add a batch to the epoch's sums, each with the part that rounding lost (Kahan 1965).

    Parameters
    ----------
    totals, carry : Array, shape (2,)
        Sums of loss times rows and of the metric, and what rounding lost of them.
    finite : Array of int32, shape (2,)
        In how many batches each sum was finite.
    value : Array, shape ()
        The batch's loss.
    n : int
        Its rows.
    score : Array of any length, or None
        The metric by rows, or sums of it; None adds nothing.

    Returns
    -------
    totals, carry, finite
    """
    scored = xp.zeros_like(value) if score is None else xp.sum(score)
    add = xp.stack((value * n, scored)) - carry
    total = totals + add
    return total, (total - totals) - add, finite + xp.astype(xp.isfinite(total), xp.int32)
