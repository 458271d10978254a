"""Workers compare what they do, in threads; checkpoints of a run on several."""

import logging

import numpy as np
import pytest
from parallel.test_shards import data, fitted, host, model
from parallel.together import together

import xpmlp
from xpmlp.cli import environment
from xpmlp.errors import InvalidValueError, WorkerError
from xpmlp.parallel import Alone, Communicator, register
from xpmlp.parallel.find import LAUNCHERS, communicator, launched, sharded


def fit(worker, seed=3, callbacks=(), change=None, **options):
    X, y = data()
    if change is not None:
        X = X + change
    mlp = xpmlp.MLP([6, 8, 3], dropout=0.2, backend="numpy", seed=seed)
    options = {"epochs": 3, "batch_size": 32, "shards": 4} | options
    history = mlp.fit(X, y, workers=worker, callbacks=list(callbacks), **options)
    return mlp, history


def refused(work, match):
    """Every worker is told what is wrong; none waits for another."""
    said = []

    def each(worker):
        with pytest.raises(WorkerError, match=match) as caught:
            work(worker)
        said.append(str(caught.value))

    together(3, each)
    assert len(set(said)) == 1
    return said[0]


def test_what_differs_is_named_with_the_worker():
    one = [0.0, 0.0, 1.0]
    refused(lambda w: fit(w, seed=3 + (w.rank == 1)), r"worker 1 has other seed: found \[4\]; wor")
    refused(lambda w: fit(w, change=one[w.rank]), "worker 2 has other settings: data. Each worker")
    refused(lambda w: fit(w, epochs=3 + w.rank), "worker 1 has other settings: epochs: found 4")
    refused(
        lambda w: fit(w, optimizer=xpmlp.SGD(0.1 if w.rank else 0.2)),
        "worker 1 has other settings: optimizer: learning_rate: rate: found 0.1; worker 0 has 0.2",
    )


def test_an_error_before_the_first_step_reaches_all():
    X, y = data()
    said = []

    def work(worker):
        bad = np.where(worker.rank == 1, np.nan, X)
        kind = InvalidValueError if worker.rank == 1 else WorkerError
        with pytest.raises(kind) as caught:
            model("numpy").fit(bad, y, workers=worker)
        said.append((worker.rank, str(caught.value)))

    together(2, work)
    mine = dict(said)
    assert "found nan" in mine[1]
    assert mine[0].startswith("worker 1 has failed: InvalidValueError: ")
    assert mine[1][:60] in mine[0]


def test_weights_that_one_worker_sets_alone_are_found():
    class Meddle(xpmlp.Callback):
        def __init__(self, rank):
            self.rank = rank

        def on_epoch_end(self, training):
            if self.rank == 1 and training.epoch == 1:
                values = training.mlp.state_dict()
                training.mlp.load_state_dict({n: v + 1 for n, v in values.items()})

    refused(
        lambda w: fit(w, callbacks=[Meddle(w.rank)]), "after epoch 3 worker 1 has other weights"
    )


def test_a_callback_of_one_worker_stops_all():
    class StopAt(xpmlp.Callback):
        def __init__(self, rank):
            self.rank = rank

        def on_epoch_end(self, training):
            if self.rank == 2:
                training.stop()

    for _, history in together(3, lambda w: fit(w, callbacks=[StopAt(w.rank)])):
        assert len(history["loss"]) == 1


def test_what_writes_acts_on_the_first_worker_alone(tmp_path, capsys):
    def work(worker):
        path = tmp_path / f"{worker.rank}-{{epoch}}.xpmlp"
        seen = []

        class Everywhere(xpmlp.Callback):
            def on_epoch_end(self, training):
                seen.append(training.epoch)

        fit(worker, callbacks=[xpmlp.SaveModel(path), Everywhere()], progress=True)
        return seen

    assert together(2, work) == [[0, 1, 2]] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0-{i}.xpmlp" for i in (1, 2, 3)]
    assert capsys.readouterr().out.count("/3") == 3


class EndsError(Exception):
    pass


class EndAt(xpmlp.Callback):
    every = 1

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, training):
        if training.total == self.step:
            raise EndsError


@pytest.mark.parametrize("which", ["all", "plain"])
def test_stopped_on_four_resumed_on_two_then_on_one(tmp_path, which):
    epochs, steps = 6, (7, 13)
    expected = fitted("numpy", which, epochs=epochs, shards=8)
    stops = iter(steps)
    for size in (4, 2):
        step = next(stops)

        def work(worker, step=step):
            stop = xpmlp.EarlyStopping(patience=2)
            options = {"epochs": epochs, "checkpoints": tmp_path / "run", "checkpoint_every": 2}
            with pytest.raises(EndsError):
                fitted(
                    *("numpy", which),
                    workers=worker,
                    resume=True,
                    callbacks=[stop, EndAt(step)],
                    **options,
                )

        together(size, work)
    options = {"epochs": epochs, "checkpoints": tmp_path / "run", "checkpoint_every": 2}
    found = fitted("numpy", which, shards=8, resume=True, **options)
    assert (found[0] == expected[0]).all()
    assert (found[1] == expected[1]).all()
    assert found[2] == expected[2]


def test_a_run_resumes_only_on_as_many_shards(tmp_path):
    fit(None, checkpoints=tmp_path / "run")
    for shards, had in ((8, "8; it had 4"), (None, "None; it had 4")):
        with pytest.raises(InvalidValueError, match=f"other shards: found {had}"):
            fit(None, checkpoints=tmp_path / "run", resume=True, shards=shards)


def test_workers_wait_for_the_first_ones_folder(tmp_path):
    (tmp_path / "run").write_text("a file")
    said = []

    def work(worker):
        with pytest.raises((InvalidValueError, WorkerError)) as caught:
            fit(worker, checkpoints=tmp_path / "run")
        said.append(f"{worker.rank} {caught.value}")

    together(2, work)
    first, second = sorted(said)
    assert "expected a folder" in first
    assert "worker 0 has failed" in second


def test_a_straggler_is_reported_once(caplog):
    from xpmlp.training.workers import Agreement

    watch = Agreement(Alone(), "")
    with caplog.at_level(logging.WARNING, "xpmlp"):
        watch._report([0.9, 0.1, 0.1])  # too short to tell
        watch._report([2.0, 2.0, 2.9])
        assert not caplog.messages
        watch._report([2.0, 9.0, 3.0])
        watch._report([2.0, 9.0, 3.0])
    assert caplog.messages == ["worker 1 takes 3.0 times as long as the others, which wait for it"]


def test_engines_are_found_by_name(monkeypatch):
    class Pigeons(Alone):
        name = "pigeons"

    register("pigeons", Pigeons)
    assert communicator("pigeons") is communicator("pigeons")
    assert isinstance(Pigeons(), Communicator)
    with pytest.raises(InvalidValueError, match=r"pigeon.*did you mean|pigeons"):
        communicator("pigeon")
    for name in environment.SIZES:
        monkeypatch.delenv(name, raising=False)
    assert tuple(size for _, _, size, _ in LAUNCHERS) == environment.SIZES
    assert isinstance(communicator("auto"), Alone)
    with pytest.raises(InvalidValueError, match="workers: found 'jax'"):
        communicator("jax")
    assert sharded("auto", None, "tree").shards == 8
    assert sharded(None, None, "tree") is None
    srun = {"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "3"}
    assert launched(srun) == ("srun", "mpi", 16, 3)
    assert launched(srun | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    assert launched(srun | {"SLURM_PROCID": "many"}) is None


def test_threads_are_fixed_within_a_run():
    control = pytest.importorskip("threadpoolctl")
    seen = []

    class Look(xpmlp.Callback):
        def on_epoch_end(self, training):
            seen.append({pool["num_threads"] for pool in control.threadpool_info()})

    before = control.threadpool_info()
    fit(None, callbacks=[Look()], epochs=1)
    fit(None, callbacks=[Look()], epochs=1, threads=2)
    assert seen[0] == {1}
    assert 2 in seen[1]
    assert control.threadpool_info() == before


def test_without_threadpoolctl_a_variable_must_have_said_it(monkeypatch):
    from xpmlp.parallel import threads

    def missing(*_):
        raise xpmlp.errors.MissingExtraError("it needs threadpoolctl")

    monkeypatch.setattr(threads, "require", missing)
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "1")
    with threads.limited(1) as said:
        assert "OMP_NUM_THREADS" in said
    with pytest.warns(UserWarning, match="OMP_NUM_THREADS=2"), threads.limited(2):
        pass


def test_alone_does_what_there_is_to_do():
    alone = Alone()
    alone.exchange([], [])
    array = np.ones(2)
    alone.all_reduce(array)
    assert (array == 1).all()
    with pytest.raises(SystemExit):
        alone.abort()
    assert host(model("numpy"))[0].size
