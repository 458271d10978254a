"""What ``verify`` found: as values, as JSON, and as text."""

import re
import textwrap
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

WIDTH = 80


@dataclass(frozen=True)
class Side:
    """One of the two backends."""

    backend: str
    library: str
    version: str
    device: str


@dataclass(frozen=True)
class Difference:
    """How far apart the two backends are after a step.

    Attributes
    ----------
    step : int
        Counted from 1 through all epochs.
    losses : (float, float)
    loss, parameters, moments : float
        Largest difference in the loss, in parameters and running statistics, and in the
        optimizer's state, which shows the size of a gradient even if Adam's update does not.
        Relative to the largest magnitude in the same layer so far.
    where : str
        The tensor that differs most: ``"dense1.W"``, ``"moment 1 of dense1.W"``.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 4, 2], seed=0, backend="numpy"), xpmlp.data.make_xor(n=50)
    >>> parity = xpmlp.verify(mlp, points.X, points.y, backends=("numpy", "numpy"), steps=4)
    >>> parity.differences[0].step, parity.differences[0].loss
    (1, 0.0)
    """

    step: int
    losses: tuple[float, float]
    loss: float
    parameters: float
    moments: float
    where: str

    @property
    def largest(self) -> float:
        """The largest of the three."""
        return max(self.loss, self.parameters, self.moments)


@dataclass(frozen=True)
class Cause:
    """The first value that differs when both backends compute a step from the same state.

    Attributes
    ----------
    step, epoch, batch : int
        Counted from 1; ``batch`` within its epoch.
    layer, quantity, formula : str
        See ``xpmlp.inspect.verify.replay.Value``.
    difference : float
        Its largest error, relative to its largest magnitude.
    index : tuple of int
        Where the largest error is.
    first, second : float
        The values there.
    """

    step: int
    epoch: int
    batch: int
    layer: str
    quantity: str
    formula: str
    difference: float
    index: tuple[int, ...]
    first: float
    second: float


@dataclass(frozen=True)
class Parity:
    """The outcome of ``verify``.

    Attributes
    ----------
    sides : (Side, Side)
    sizes, parameters, dtype, seed, rows, batch_size, optimizer
        What was trained and how; ``parameters`` is their number.
    tolerance : float
    differences : list of Difference
        After each step.
    left_out : tuple of str
        Tensors not compared: biases that batch normalization subtracts again, and its running
        means. They drift with rounding, and nothing depends on them.
    beyond : int or None
        The first step after which the two differ by more than the tolerance.
    cause : Cause or None
        None if the two agree, or if no single operation explains the difference.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 4, 2], seed=0, backend="numpy"), xpmlp.data.make_xor(n=50)
    >>> parity = xpmlp.verify(mlp, points.X, points.y, backends=("numpy", "numpy"), steps=4)
    >>> parity.agrees, parity.beyond, len(parity.differences)
    (True, None, 4)
    """

    sides: tuple[Side, Side]
    sizes: tuple[int, ...]
    parameters: int
    dtype: str
    seed: int
    rows: int
    batch_size: int
    optimizer: str
    tolerance: float
    differences: list[Difference] = field(repr=False)
    left_out: tuple[str, ...]
    beyond: int | None
    cause: Cause | None

    @property
    def agrees(self) -> bool:
        """Whether all steps are within the tolerance."""
        return self.beyond is None

    @property
    def not_finite(self) -> int | None:
        """The first step whose loss is NaN or infinite on either side, if any."""
        return next((d.step for d in self.differences if not isfinite(sum(d.losses))), None)

    @property
    def largest(self) -> Difference:
        """The step after which the two are farthest apart."""
        return max(self.differences, key=lambda d: d.largest)

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON; a difference may be infinite, which JSON lacks.

        Examples
        --------
        >>> mlp, points = xpmlp.MLP([2, 4, 2], seed=0, backend="numpy"), xpmlp.data.make_xor(n=50)
        >>> parity = xpmlp.verify(mlp, points.X, points.y, backends=("numpy", "numpy"), steps=4)
        >>> parity.to_dict()["tolerance"]
        0.0001
        """
        return {"agrees": self.agrees, "not_finite": self.not_finite, **asdict(self)}

    def __str__(self) -> str:
        """Return the verdict; ``report()`` has the differences and what explains them."""
        first, second = (side.backend for side in self.sides)
        verdict = "agree" if self.agrees else f"part at step {self.beyond}"
        worst, cause = self.largest, self.cause
        where = "" if cause is None else f", first in {cause.layer}: {cause.quantity}"
        return (
            f"{first} and {second} {verdict}{where}. Largest difference in "
            f"{len(self.differences)} steps: {worst.largest:.1e}, after step {worst.step} "
            f"(tolerance {self.tolerance:.0e}). report() has the rest."
        )

    def report(self) -> str:
        """Return everything as text, in lines of at most 80 columns.

        Examples
        --------
        >>> mlp, points = xpmlp.MLP([2, 4, 2], seed=0, backend="numpy"), xpmlp.data.make_xor(n=50)
        >>> parity = xpmlp.verify(mlp, points.X, points.y, backends=("numpy", "numpy"), steps=4)
        >>> print(parity.report().splitlines()[0])
        numpy and numpy: they agree
        """
        first, second = self.sides
        verdict = "they agree" if self.agrees else f"they part at step {self.beyond}"
        settings = re.sub(r", \w+=None", "", self.optimizer)
        facts = {
            "first": _words(first),
            "second": _words(second),
            "network": f"{'-'.join(map(str, self.sizes))}, {self.parameters:,} parameters, "
            f"{self.dtype}, seed {self.seed}",
            "training": f"{len(self.differences)} steps, batches of {self.batch_size:,} from "
            f"{self.rows:,} rows, {settings}",
            "tolerance": f"{self.tolerance:.0e}, relative to the largest value in the same layer "
            "so far",
        }
        lines = [f"{first.backend} and {second.backend}: {verdict}", ""]
        for name, text in facts.items():
            lines += _wrapped(f"{name:<9}  {text}", " " * 11)
        lines += ["", *self._table(), ""]
        for sentence in self._sentences():
            lines += _wrapped(sentence)
        return "\n".join(lines)

    def _table(self) -> list[str]:
        """Return the differences after some steps, the last, largest and first beyond included."""
        last = len(self.differences)
        steps = {m * 10**e for m in (1, 2, 5) for e in range(9)} | {last, self.largest.step}
        lines = [f"{'step':>9}  {'loss':>7}  {'parameters':>10}  {'moments':>7}  largest in"]
        for d in self.differences:
            if d.step in steps or d.step == self.beyond:
                mark = " <" if d.step == self.beyond else ""
                off = f"{d.loss:>7.1e}  {d.parameters:>10.1e}  {d.moments:>7.1e}"
                lines.append(f"{d.step:>9,}  {off}  {d.where}{mark}")
        return lines

    def _sentences(self) -> list[str]:
        worst = self.largest
        said = []
        if self.agrees:
            said.append(
                f"All {len(self.differences)} steps agree to {self.tolerance:.0e}; the largest "
                f"difference is {worst.largest:.1e}, after step {worst.step}."
            )
        elif self.cause is None:
            said.append(
                f"The difference exceeds {self.tolerance:.0e} from step {self.beyond}. When both "
                "compute the steps up to there again from the same state, no value differs by "
                "even a tenth of that. Either rounding errors grew from step to step, as they do "
                "if training is unstable (try a smaller learning rate), or one side does not "
                "compute the same twice."
            )
        else:
            said += self._found(self.cause)
        if self.left_out:
            said.append(
                f"Not compared: {', '.join(self.left_out)}. Batch normalization subtracts what a "
                "bias adds, so these drift with rounding errors and change no result."
            )
        if self.not_finite is not None:
            said.append(f"The loss is not finite from step {self.not_finite} on.")
        return said

    def _found(self, cause: Cause) -> list[str]:
        first, second = (side.backend for side in self.sides)
        first, second = (first, second) if first != second else ("first", "second")
        again = "that step" if cause.step == self.beyond else "the steps up to there"
        at = f" at [{', '.join(map(str, cause.index))}]" if cause.index else ""
        formula = f" ({cause.formula})" if cause.formula else ""
        return [
            f"The difference exceeds {self.tolerance:.0e} from step {self.beyond}. When both "
            f"compute {again} again from the same state, the first value that differs is",
            "",
            f"  step      {cause.step} (epoch {cause.epoch}, batch {cause.batch})",
            f"  layer     {cause.layer}{formula}",
            f"  quantity  {cause.quantity}",
            f"  off by    {cause.difference:.1e} of its largest value{at}:",
            f"            {first} {cause.first!r}, {second} {cause.second!r}",
        ]


def _words(side: Side) -> str:
    name = side.backend if side.backend == side.library else f"{side.backend}: {side.library}"
    return f"{name} {side.version} on {side.device}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Break a line at 80 columns; one that starts with spaces continues below its text."""
    if text.startswith(" "):
        indent = " " * 12
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]
