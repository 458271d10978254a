"""A small process that says which worker was killed, when all the others are being ended, too.

``mpiexec`` ends all workers at once if one dies, without a chance to say anything. So a process of
its own watches those on its machine, by file descriptors that become readable when they end.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

WATCH = """
import os, select, sys
say, *pids = sys.argv[1:]
watched = select.poll()
watched.register(0, select.POLLIN | select.POLLHUP)
ranks = {}
for rank, pid in enumerate(pids):
    try:
        place = os.pidfd_open(int(pid)) if int(pid) else -1
    except OSError:
        place = -1
    if place >= 0:
        ranks[place] = rank
        watched.register(place, select.POLLIN)
ready = sorted(place for place, _ in watched.poll())
if ready[0] or not os.read(0, 1):
    ended = [ranks[place] for place in ready if place in ranks]
    rank = ended[0] if ended else 0
    print(say.format(rank, pids[rank]), file=sys.stderr, flush=True)
"""


@contextmanager
def watching(pids: list[int], say: str) -> Iterator["subprocess.Popen[bytes] | None"]:
    """Within the block, print a line if one of these processes ends; yield what watches.

    Parameters
    ----------
    pids : list of int
        By rank; 0 for those on other machines.
    say : str
        The line, with ``{0}`` for the rank and ``{1}`` for the process.
    """
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    with subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", WATCH, say, *map(str, pids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what ends the workers does not end it
    ) as process:
        try:
            yield process
        finally:
            with suppress(OSError):  # it may have ended by itself
                assert process.stdin is not None
                process.stdin.write(b".")
                process.stdin.close()
