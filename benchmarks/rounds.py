"""Interleaved rounds: what disturbs one contestant soon disturbs the others as well."""

from collections.abc import Callable, Mapping
from math import ceil
from statistics import median, quantiles
from time import perf_counter, sleep

Times = Mapping[str, list[float]]
"""One figure a round for each contestant."""

SETTLE = 0.12
"""Seconds before a measurement: OpenBLAS's threads spin for 0.1 s, on others' cores, then sleep."""


def interleave(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float = 0.06,
    before: Mapping[str, Callable[[], object]] | None = None,
    *,
    settle: float | None = None,
    over: Callable[[int], bool] = lambda _: False,
) -> dict[str, list[float]]:
    """Time each run in turn, round by round.

    Parameters
    ----------
    runs : dict of callable
        Each is repeated within a round until it takes about ``seconds``. It should have run
        before: what it compiles at first would count.
    rounds : int
    seconds : float
        0 for no repetition.
    before : dict of callable, optional
        What to do before each measurement, untimed; by default the run itself, once.
    settle : float, optional
        Seconds before a measurement; ``SETTLE`` by default.
    over : callable
        Whether to end already, after so many rounds.

    Returns
    -------
    dict of list of float
        Seconds of one run, for each round.
    """
    repeats = {name: _repeats(run, seconds) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds):
        if done and over(done):
            break
        for name, run in runs.items():
            sleep(SETTLE if settle is None else settle)
            (before or runs)[name]()
            start = perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((perf_counter() - start) / repeats[name])
    return times


def _repeats(run: Callable[[], object], seconds: float) -> int:
    """Return how often to run for so many seconds."""
    if not seconds:
        return 1
    count, spent = 1, 0.0
    while spent < seconds / 5:  # too short a time says little
        count = max(count, ceil(seconds / 4 * count / spent)) if spent else count
        start = perf_counter()
        for _ in range(count):
            run()
        spent = perf_counter() - start
    return max(1, ceil(seconds * count / spent))


def spread(values: list[float]) -> dict[str, float]:
    """Return median, quartiles and extremes."""
    low, high = quantiles(values, n=4, method="inclusive")[::2] if values[1:] else values * 2
    return {
        "median": median(values),
        "q1": low,
        "q3": high,
        "min": min(values),
        "max": max(values),
    }


def ratio(times: Times, above: str, below: str) -> float | None:
    """Return the median over the rounds of one's time by the other's, if both took part."""
    if above not in times or below not in times:
        return None
    return median(a / b for a, b in zip(times[above], times[below], strict=True))
