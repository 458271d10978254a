"""The engines' logic without their launchers: what is sent to whom, and how all end."""

import queue
import sys
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from parallel.together import together

from xpmlp.cli import environment, main, workers
from xpmlp.errors import MissingExtraError
from xpmlp.parallel import MPI, Communicator, find, gather, mpi, sentinel
from xpmlp.parallel.tree import EngineSum, Tree

LIMIT = 240


class Comm:
    """A communicator of mpi4py between threads."""

    def __init__(self, worker, post):
        self.worker, self.post, self.aborted = worker, post, []

    def Get_rank(self):  # noqa: N802 - mpi4py's names
        return self.worker.rank

    def Get_size(self):  # noqa: N802
        return self.worker.size

    def Isend(self, array, to):  # noqa: N802
        assert array.flags.c_contiguous
        self.post[self.worker.rank, to].put(array.copy())
        return lambda: None

    def Irecv(self, array, source):  # noqa: N802
        def receive():
            array[...] = self.post[source, self.worker.rank].get(timeout=LIMIT)

        return receive

    def Allreduce(self, place, array):  # noqa: N802
        assert place == "in place"
        self.worker.all_reduce(array)

    def Abort(self, status):  # noqa: N802
        self.aborted.append(status)


@pytest.fixture
def fake_mpi(monkeypatch):
    """mpi4py.MPI, as far as it is used."""

    def wait_all(calls):
        for call in calls:
            call()

    module = SimpleNamespace(IN_PLACE="in place", Request=SimpleNamespace(Waitall=wait_all))
    monkeypatch.setattr(mpi, "require", lambda *_: module)
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)


@pytest.mark.parametrize("size", [2, 3])
def test_mpi_adds_up_as_threads_do(fake_mpi, size):
    post = defaultdict(queue.Queue)
    for rank in range(size):  # before the threads begin
        for other in range(size):
            post[rank, other] = queue.Queue()
    leaves = np.random.default_rng(0).normal(size=(8, 200))

    def keep(array, memory):
        memory[...] = array
        return memory

    def work(worker):
        engine = MPI(Comm(worker, post))
        assert isinstance(engine, Communicator)
        assert gather(engine, worker.rank) == list(range(size))
        found = []
        for kind, carrier in ((Tree, engine), (Tree, worker), (EngineSum, engine)):
            tree = kind(8, carrier, 200, lambda n: np.empty(n), keep)
            found.append(np.array(tree.sum(iter(leaves[slice(*tree.own)]), 8)))
        return found

    for ours, theirs, engines in together(size, work):
        assert (ours == theirs).all()
        np.testing.assert_allclose(engines, ours, rtol=1e-12, atol=1e-12)


def test_an_error_that_nobody_catches_ends_all(fake_mpi):
    comm = Comm(SimpleNamespace(rank=1, size=2), {})
    MPI(comm)
    hook = sys.excepthook
    MPI(comm)
    assert sys.excepthook is hook  # once
    for error, status in ((ValueError("x"), 1), (KeyboardInterrupt(), 130)):
        with pytest.raises(SystemExit):
            hook(type(error), error, None)
        assert comm.aborted.pop() == status


def test_one_process_leaves_errors_as_they_are(fake_mpi):
    hook = sys.excepthook
    assert MPI(Comm(SimpleNamespace(rank=0, size=1), {})).size == 1
    assert sys.excepthook is hook


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(MissingExtraError, match=r"xpmlp\[mpi\]"):
        MPI()


def test_gloo_of_one_process():
    dist = pytest.importorskip("torch.distributed")
    from xpmlp_backends.torch.distributed import Gloo

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        alone = Gloo()
        assert isinstance(alone, Communicator)
        assert (alone.rank, alone.size) == (0, 1)
        array = np.arange(3.0)
        alone.exchange([array], [array])
        alone.all_reduce(array)
        assert array.tolist() == [0.0, 1.0, 2.0]
    finally:
        dist.destroy_process_group()


def test_a_third_partys_engine_is_found_by_its_entry_point(monkeypatch):
    point = SimpleNamespace(name="pigeons2", load=lambda: find.Alone)
    monkeypatch.setattr(find, "entry_points", lambda group: [point] if group == find.GROUP else [])
    assert isinstance(find.communicator("pigeons2"), find.Alone)


@pytest.fixture
def second_of_three(monkeypatch):
    for name in environment.SIZES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setattr(workers, "PATIENCE", 0.0)


def test_other_commands_are_left_to_the_first_worker(second_of_three, monkeypatch, capsys):
    assert main(["info"]) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("PMI_RANK", "0")
    assert main(["info"]) == 0
    said = capsys.readouterr()
    assert "BLAS" in said.out
    assert "of 3, the first runs 'info'" in said.err


def test_an_error_is_reported_with_the_worker_and_ends_all(second_of_three, monkeypatch, capsys):
    ended = []
    engine = SimpleNamespace(rank=1, size=3, abort=ended.append)
    monkeypatch.setattr(workers, "communicator", lambda name: engine)
    monkeypatch.setattr(workers, "is_used", lambda name: True)
    monkeypatch.setattr(workers, "chosen", lambda args: find.sharded(None, None, "tree"))
    assert main(["train", "nothing.csv"]) == 2
    assert capsys.readouterr().err.startswith("xpmlp: error: worker 1: no such file")
    assert ended == [2]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "chosen", interrupted)
    assert main(["train", "digits"]) == 130
    assert capsys.readouterr().err == ""
    assert ended == [2]  # the first may still be saving


def test_who_resumes_and_how(second_of_three, monkeypatch):
    form = find.sharded("alone", 8, "tree")
    assert workers.resume_with(None) == ""
    assert workers.resume_with(form) == "mpiexec -n 3 "
    monkeypatch.delenv("PMI_SIZE")
    assert workers.resume_with(form) == ""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert workers.resume_with(form) == "torchrun --nproc-per-node 2 --no-python "


def test_the_sentinel_names_a_process_that_ends_and_no_other(capfd):
    import subprocess

    if not hasattr(sentinel.os, "pidfd_open"):
        pytest.skip("this system has no pidfd_open")
    command = [sys.executable, "-S", "-c", "input()"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    try:
        pids = [process.pid for process in both]
        with sentinel.watching(pids, "nothing happened"):
            pass
        assert capfd.readouterr().err == ""
        with sentinel.watching(pids, "worker {0} ended ({1})") as watch:
            both[1].kill()
            watch.wait(timeout=LIMIT)
        assert capfd.readouterr().err == f"worker 1 ended ({pids[1]})\n"
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_without_descriptors_of_processes_nothing_is_watched(monkeypatch):
    monkeypatch.delattr(sentinel.os, "pidfd_open", raising=False)
    with sentinel.watching([1], "never") as watch:
        assert watch is None
