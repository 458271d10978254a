"""Workers in threads of one process, for tests of everything but the engines."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np


class Board:
    """What threads leave for each other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.wait = threading.Barrier(size, timeout=300)
        self.posts: list[Any] = [None] * size
        self.sent = [0] * size


class Thread:
    """One of ``size`` workers; arrays of the host, as with MPI."""

    on_host, name = True, "threads"

    def __init__(self, board: Board, rank: int) -> None:
        self.rank, self.size, self._board = rank, board.size, board

    def exchange(self, send: Sequence[np.ndarray], receive: Sequence[np.ndarray]) -> None:
        board = self._board
        board.posts[self.rank] = [np.array(array) for array in send]
        board.wait.wait()
        for j, out in enumerate(receive):
            if j != self.rank:
                found = board.posts[j][self.rank]
                assert found.shape == out.shape
                out[...] = found
                board.sent[j] += found.nbytes
        board.wait.wait()

    def all_reduce(self, array: np.ndarray) -> None:
        board = self._board
        board.posts[self.rank] = np.array(array)
        board.wait.wait()
        array[...] = sum(reversed(board.posts))  # an order of its own
        board.wait.wait()

    def abort(self, status: int = 1) -> NoReturn:
        self._board.wait.abort()
        raise SystemExit(status)


def together(size: int, work: Callable[[Thread], Any]) -> list[Any]:
    """What ``work`` returns to each of so many workers; the first of their errors is raised."""
    board, found, errors = Board(size), [None] * size, []

    def run(rank: int) -> None:
        try:
            found[rank] = work(Thread(board, rank))
        except BaseException as error:
            errors.append(error)
            board.wait.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    broken = (threading.BrokenBarrierError,)
    for error in sorted(errors, key=lambda e: isinstance(e, broken)):
        raise error
    return found
