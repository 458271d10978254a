"""How much time there is: a run that is paid by the minute must end, and still say something."""

from collections.abc import Callable
from time import perf_counter


class Budget:
    """Seconds that begin to pass when it is made.

    Parameters
    ----------
    seconds : float
    clock : callable
        Seconds since some moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        self.seconds, self.clock = seconds, clock
        self.begin = clock()

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        return self.clock() - self.begin

    @property
    def left(self) -> float:
        """Seconds that are left; negative when it is overdrawn."""
        return self.seconds - self.spent

    def share(self, parts: int, reserve: float = 0.0) -> "Budget":
        """Return the budget of the first of so many parts that share all but a reserve."""
        return Budget((self.left - reserve) / parts, self.clock)
