"""Folders of checkpoints: what is kept, what is refused, and what a failure leaves."""

import errno
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from robustness.faults import INTERRUPT, each_failing, each_killed
from robustness.mutations import survivors
from robustness.resuming import Run, data, every_step

import xpmlp
from xpmlp.checkpoints.snapshot import Checkpoint
from xpmlp.errors import CheckpointError, DivergenceError, InvalidValueError, XpmlpError
from xpmlp.nn.losses import LOSSES
from xpmlp.storage import tensorfile as container


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def steps(*numbers: int) -> set[str]:
    return {f"step-{n:09d}.xpmlp" for n in numbers}


# What is kept


def test_after_each_epoch_the_last_three_and_the_best(tmp_path: Path) -> None:
    run = Run(optimizer=xpmlp.SGD(0.05), epochs=6)
    run.fit(checkpoints=tmp_path)
    assert names(tmp_path) == {*steps(40, 50, 60), "best.xpmlp"}
    best = int(np.argmin(run.history["val_loss"])) + 1
    assert xpmlp.load(tmp_path / "best.xpmlp", backend="numpy").epochs_trained == best


def test_after_so_many_steps_counted_over_the_epochs(tmp_path: Path) -> None:
    Run().fit(checkpoints=tmp_path, checkpoint_every=7)
    assert names(tmp_path) == {*steps(42, 49, 50), "best.xpmlp"}


def test_as_many_as_asked_for(tmp_path: Path) -> None:
    Run().fit(checkpoints=xpmlp.Checkpoints(tmp_path, every=10, keep=2, best=False))
    assert names(tmp_path) == steps(40, 50)


def test_the_best_by_another_figure(tmp_path: Path) -> None:
    run = Run(optimizer=xpmlp.SGD(0.3))
    run.fit(checkpoints=xpmlp.Checkpoints(tmp_path, monitor="val_accuracy"))
    best = int(np.argmax(run.history["val_accuracy"])) + 1
    assert xpmlp.load(tmp_path / "best.xpmlp", backend="numpy").epochs_trained == best


def test_the_best_is_that_of_both_parts(tmp_path: Path) -> None:
    """A worse epoch after the interruption does not take the place of a better one before it."""
    run = Run(optimizer=xpmlp.SGD(xpmlp.schedules.StepDecay(0.01, every=2.0, factor=200.0)))
    run.fit(checkpoints=tmp_path)
    best = int(np.argmin(run.history["val_loss"])) + 1
    assert best < 4
    for name in steps(50):
        (tmp_path / name).unlink()
    run.fit(checkpoints=tmp_path, resume=True)
    assert xpmlp.load(tmp_path / "best.xpmlp", backend="numpy").epochs_trained == best


def test_a_pause_between_short_epochs(tmp_path: Path) -> None:
    Run().fit(checkpoints=xpmlp.Checkpoints(tmp_path, pause=3600.0, best=False))
    assert names(tmp_path) == steps(50)  # the last one, always


def test_an_empty_folder_is_not_left(tmp_path: Path) -> None:
    class Fail(xpmlp.Callback):
        def on_epoch_begin(self, training: Any) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Run().fit(checkpoints=tmp_path / "deep/er", callbacks=[Fail()])
    assert not (tmp_path / "deep/er").exists()


# Where to go on


def test_resume_begins_where_there_is_nothing_yet(tmp_path: Path) -> None:
    run = Run()
    whole = run.fit().facts()
    assert run.fit(checkpoints=tmp_path / "new", resume=True).facts() == whole
    history = run.history
    assert run.fit(checkpoints=tmp_path / "new", resume=True).facts() == whole
    assert run.history == history  # it was finished: nothing is done again, not even timed


def test_a_damaged_file_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Run().fit(checkpoints=tmp_path, checkpoint_every=8).facts()
    files = sorted(tmp_path.glob("step-*"))
    for damaged in (files[-1:], files[1:]):
        for path in damaged:
            path.write_bytes(path.read_bytes()[:-1])
        caplog.clear()
        assert Run().fit(checkpoints=tmp_path, resume=True).facts() == whole
        good = f"Resuming from {files[-len(damaged) - 1]}, which is valid"
        assert [good in record.getMessage() for record in caplog.records] == [True] * len(damaged)


def test_a_damaged_file_that_was_asked_for_is_refused_and_another_offered(tmp_path: Path) -> None:
    Run().fit(checkpoints=tmp_path / "all", checkpoint_every=8)
    newest, before, *_ = sorted((tmp_path / "all").glob("step-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1])
    run = Run()
    with pytest.raises(CheckpointError, match=rf"truncated.*\. {before} is valid: resume from it"):
        run.fit(checkpoints=tmp_path / "all", resume=newest)
    assert run.mlp.epochs_trained == 0
    (tmp_path / "alone").mkdir()
    alone = newest.rename(tmp_path / "alone" / newest.name)
    with pytest.raises(CheckpointError, match=r"no other checkpoint in .*alone is valid"):
        run.fit(checkpoints=tmp_path / "new", resume=alone)


def test_the_best_is_the_last_resort_and_else_it_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run()
    whole = run.fit(checkpoints=tmp_path).facts()
    for path in tmp_path.glob("step-*"):
        path.write_bytes(b"")
    assert Run().fit(checkpoints=tmp_path, resume=True).facts() == whole
    assert "best.xpmlp, which is valid" in caplog.text
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-0+50.*no other checkpoint in .* is valid"):
        run.fit(checkpoints=tmp_path, resume=True)
    assert run.mlp.epochs_trained == 0


def test_checkpoints_of_another_training_are_never_overwritten(tmp_path: Path) -> None:
    Run().fit(checkpoints=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InvalidValueError, match=r"of another training run in .* with resume=True"):
        Run().fit(checkpoints=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    Run().fit().mlp.save(tmp_path / "m.xpmlp")
    with pytest.raises(CheckpointError, match="a model without the state of its training"):
        Run().fit(checkpoints=tmp_path / "c", resume=tmp_path / "m.xpmlp")


def test_a_newer_format_is_said_to_be_one(tmp_path: Path, monkeypatch: Any) -> None:
    points = every_step(Run(), tmp_path / "all")
    monkeypatch.setattr(container, "FORMAT", 1)
    with pytest.raises(CheckpointError, match=r"format 2; this version of xpmlp reads 1 to 1"):
        Run().fit(checkpoints=tmp_path / "c", resume=points[3])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 6}, r"other batch_size: found 6; it had 5"),
        ({"epochs": 9}, "other epochs: found 9; it had 5"),
        ({"optimizer": xpmlp.Adam(0.03)}, "other optimizer"),
        ({"optimizer": xpmlp.SGD(0.02)}, "other optimizer"),
        ({"shuffle": False}, "other shuffle: found False; it had True"),
        ({"metrics": False}, "other metrics"),
        ({"sample_weight": None}, "other data"),
        ({"validation_split": 0.5}, "other training rows"),
        ({"dtype": "float64"}, r"dtype='float32'; this one has 'float64'"),
        ({"dropout": 0.5}, "dropout="),
        ({"loss": "mse"}, "loss=.*; this one has .*mse"),
        ({"normalization": None}, "normalization='batch'; this one has None"),
        (
            {"callbacks": [xpmlp.EarlyStopping()]},
            "callbacks: 0: patience: found 10.0; it had 3.0",
        ),
    ],
)
@pytest.mark.sampled(4)
def test_another_training_does_not_go_on(options: Any, match: str, tmp_path: Path) -> None:
    points = every_step(Run(), tmp_path / "all")
    other = Run(**options)
    with pytest.raises(InvalidValueError, match=match):
        other.fit(checkpoints=tmp_path / "c", resume=points[17])
    fresh = other.model()
    assert other.mlp.epochs_trained == 0
    assert other.mlp.known_task is None
    for name, value in fresh.state_dict().items():
        assert np.array_equal(other.mlp.state_dict()[name], value)


def test_other_data_do_not_go_on(tmp_path: Path) -> None:
    X, y = data()
    given = {"X": X, "y": y, "weight": np.ones(len(y)), "held X": X[:9].copy(), "held y": y[:9]}

    def fit(**more: Any) -> None:
        d = given | more
        xpmlp.MLP([4, 3], backend="numpy", seed=1).fit(
            *(d["X"], d["y"]), sample_weight=d["weight"], epochs=1, checkpoints=tmp_path,
            validation_data=(d["held X"], d["held y"]), resume=True,
        )  # fmt: skip

    fit()
    fit(X=X.astype(np.float32).astype(np.float64))  # float32 is what the model computes in
    for name, array in given.items():
        other = array.copy()
        other.reshape(-1)[-1] = (other.reshape(-1)[-1] + 1) % 3
        with pytest.raises(InvalidValueError, match=r"had other data\. Give the same"):
            fit(**{name: other})


def test_a_seed_that_was_drawn_is_the_files(tmp_path: Path) -> None:
    X, y = data()
    first, again = (xpmlp.MLP([4, 8, 3], dropout=0.5, backend="numpy") for _ in range(2))
    keep = xpmlp.Checkpoints(tmp_path / "all", every=1, keep=99)
    first.fit(X, y, epochs=2, batch_size=9, checkpoints=keep)
    again.fit(X, y, epochs=2, batch_size=9, checkpoints=tmp_path / "c", resume=keep.files()[5])
    assert again.seed == first.seed
    for name, value in first.state_dict().items():
        assert np.array_equal(again.state_dict()[name], value)
    given = xpmlp.MLP([4, 8, 3], dropout=0.5, backend="numpy", seed=first.seed + 1)
    with pytest.raises(InvalidValueError, match="was made with seed="):
        given.fit(X, y, epochs=2, batch_size=9, checkpoints=tmp_path / "all", resume=True)
    assert given.seed == first.seed + 1
    drawn = xpmlp.MLP([4, 8, 3], dropout=0.5, backend="numpy")
    own = drawn.seed
    with pytest.raises(InvalidValueError, match="had other epochs"):
        drawn.fit(X, y, epochs=3, batch_size=9, checkpoints=tmp_path / "all", resume=True)
    assert drawn.seed == own


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"checkpoint_every": 5}, "checkpoint_every: needs a folder"),
        ({"resume": True}, "resume: needs a folder"),
        ({"checkpoints": "c", "checkpoint_every": 0}, "every: found 0; expected a whole number"),
        ({"checkpoints": "c", "checkpoint_every": 1.5}, "every: found 1.5"),
        ({"checkpoints": "c", "checkpoint_every": True}, "every: found True"),
        ({"checkpoints": "c", "checkpoint_every": "5"}, "every: found '5'"),
    ],
)
def test_bad_arguments(options: Any, match: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidValueError, match=match):
        Run().fit(**options)
    with pytest.raises(InvalidValueError, match="keep: found 0"):
        xpmlp.Checkpoints("c", keep=0)
    with pytest.raises(InvalidValueError, match="which has its own every"):
        Run().fit(checkpoints=xpmlp.Checkpoints("c"), checkpoint_every=3)
    assert not list(tmp_path.iterdir())


# Divergence


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_an_explosion_leaves_the_last_good_checkpoint(
    loss: str, tmp_path: Path, tried: Any
) -> None:
    """The training ends at the step, and no file has what came of it."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 4)) * 1e3
    y: Any = rng.integers(0, 3, 60)
    if "cross_entropy" not in loss:
        y = rng.uniform(1, 5, (60, 3))
    elif "sparse" not in loss:
        y = np.eye(3)[y]
    taken: list[int] = []

    class Count(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            taken.append(training.total)

    mlp = xpmlp.MLP([4, 8, 3], loss=loss, scaling=None, backend="numpy", seed=0)
    keep = xpmlp.Checkpoints(tmp_path, every=1, keep=10**6)
    with pytest.raises(DivergenceError, match=r"in epoch \d+ of 50, step \d+ of 10: ") as info:
        mlp.fit(
            X, y, epochs=50, batch_size=6, optimizer=xpmlp.SGD(1e10),
            checkpoints=keep, callbacks=[Count()],
        )  # fmt: skip
    words = str(info.value).split()
    epoch, step = int(words[words.index("epoch") + 1]), int(words[words.index("step") + 1])
    # At that step the loss was not finite, or only what it left behind.
    assert 10 * (epoch - 1) + step in (len(taken), len(taken) + 1)
    for path in keep.files():
        for value in xpmlp.load(path, backend="numpy").state_dict().values():
            assert np.isfinite(value).all()
    tried(f"{loss} at a rate of 1e10: stopped at its step, every checkpoint is good")


# Damage


def small_checkpoint(folder: Path) -> bytes:
    X, y = data()
    mlp = xpmlp.MLP([4, 3], normalization=None, scaling="standard", backend="numpy", seed=1)
    keep = xpmlp.Checkpoints(folder, every=1, keep=9)
    stopping = xpmlp.EarlyStopping()
    mlp.fit(X, y, epochs=2, batch_size=20, optimizer="momentum", checkpoints=keep,
            callbacks=[stopping])  # fmt: skip
    return keep.files()[1].read_bytes()


def content(saved: Checkpoint) -> Any:
    arrays = {n: (t.dtype.str, t.shape, t.tobytes()) for n, t in saved.tensors.items()}
    return saved.config, arrays


def test_no_damage_goes_unseen(tmp_path: Path, tried: Any, draws: Any) -> None:
    original = small_checkpoint(tmp_path / "all")
    path = tmp_path / "c.xpmlp"
    path.write_bytes(original)
    expected = content(Checkpoint.read(path))
    count = draws(500, 1_500, 12_000)
    loaded = survivors(path, original, Checkpoint.read, CheckpointError, count=count)
    assert all(content(one) == expected for one in loaded)
    tried(f"{count:,} mutations of a checkpoint: 0 silent, 0 other exceptions")


def go_on(path: Path, folder: Path) -> xpmlp.MLP:
    X, y = data()
    mlp = xpmlp.MLP([4, 3], normalization=None, scaling="standard", backend="numpy", seed=1)
    mlp.fit(X, y, epochs=2, batch_size=20, optimizer="momentum", checkpoints=folder,
            callbacks=[xpmlp.EarlyStopping()], resume=path)  # fmt: skip
    return mlp


VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 3, 10**6, 2**63, 10**40, 0.5, 1e308, "", "x", "loss", [], {}),
    *([1], ["loss"], [["x"]], {"loss": 1}, "a" * 1000, ["loss", "loss"]),
]


def forgeries(original: bytes) -> list[tuple[str, bytes]]:
    """The checkpoint with each entry or array of its training changed, and the digest to fit."""
    size = int.from_bytes(original[:8], "little")
    text = json.loads(original[8 : 8 + size])["__metadata__"]["xpmlp"]
    made = []

    def add(name: str, change: Callable[[Any, Any], Any]) -> None:
        config, tensors = json.loads(text), dict(safetensors.numpy.load(original))
        change(config, tensors)
        forged = json.dumps(config)
        metadata = {"xpmlp": forged, "sha256": container._digest(forged, tensors)}
        made.append((name, safetensors.numpy.save(tensors, metadata)))

    config = json.loads(text)
    entries = [("training",)]
    entries += [("training", key) for key in config["training"]]
    entries += [("training", "settings", key) for key in config["training"]["settings"]]
    for entry in entries:
        for value in VALUES:

            def put(config: Any, tensors: Any, entry: Any = entry, value: Any = value) -> None:
                for key in entry[:-1]:
                    config = config[key]
                config[entry[-1]] = value

            add(f"{'.'.join(entry)} = {value!r:.20}", put)
    arrays = [
        np.zeros(0), np.zeros(3), np.zeros((2, 2)), np.array(1.0), np.full(2, np.nan),
        np.array([2**31 - 1, -1], np.int32), np.zeros(4, np.uint8), np.full((4, 3), np.inf),
        np.full((4, 3), np.nan, np.float32),
    ]  # fmt: skip
    for name in safetensors.numpy.load(original):
        add(f"no {name}", lambda config, tensors, name=name: tensors.pop(name))
        for array in arrays:

            def change(config: Any, tensors: Any, name: str = name, array: Any = array) -> None:
                tensors[name] = array

            add(f"{name} of {array.dtype} {array.shape}", change)
    return made


@pytest.mark.filterwarnings("ignore:the training loss ran away:UserWarning")
def test_a_forged_training_is_refused_or_harmless(tmp_path: Path, tried: Any, draws: Any) -> None:
    """A right digest over what makes no sense: an error of ours, or a model that works."""
    path, refused = tmp_path / "c.xpmlp", 0
    made = forgeries(small_checkpoint(tmp_path / "all"))[:: draws(5, 1)]
    for n, (name, forged) in enumerate(made):
        path.write_bytes(forged)
        said = ""
        try:
            mlp = go_on(path, tmp_path / f"{n}")
        except XpmlpError as error:
            said = str(error)
        if not said:
            assert np.isfinite(mlp.predict_proba(data()[0])).all(), name
            continue
        refused += 1
        assert str(path) in said or "diverged" in said, name
        assert len(said) < 2000, name
    tried(f"{len(made)} forged checkpoints: {refused} refused, the others harmless")
    assert refused > 0.8 * len(made)


@pytest.mark.parametrize("taken", [-1, 2**60])
def test_a_number_of_steps_that_cannot_be_is_refused(taken: int, tmp_path: Path) -> None:
    path = tmp_path / "a.xpmlp"
    path.write_bytes(small_checkpoint(tmp_path / "all"))
    made = Checkpoint.read(path)
    made.config["training"]["taken"] = taken
    container.write(path, made.config, made.tensors)
    with pytest.raises(CheckpointError, match=f"{taken} steps"):
        go_on(path, tmp_path / "b")


@pytest.mark.parametrize("best", [np.nan, np.inf, -np.inf, np.zeros(2)])
@pytest.mark.sampled(4)
def test_forged_weights_of_the_best_epoch_are_refused(best: Any, tmp_path: Path) -> None:
    """No epoch is better than the first here, so these would be the ones that are given back."""

    def fit(folder: str, **more: Any) -> None:
        Run(callbacks=[xpmlp.EarlyStopping(99, min_delta=1e9)]).fit(
            checkpoints=xpmlp.Checkpoints(tmp_path / folder, every=1, keep=99, best=False), **more
        )

    fit("all")
    made = Checkpoint.read(tmp_path / "all" / "step-000000023.xpmlp")
    name = next(n for n in made.tensors if n.endswith("weights.dense2.W"))
    right = made.tensors[name]
    made.tensors[name] = np.full_like(right, best) if np.ndim(best) == 0 else best
    container.write(tmp_path / "c.xpmlp", made.config, made.tensors)
    with pytest.raises(CheckpointError, match="the state of EarlyStopping cannot be read"):
        fit("other", resume=tmp_path / "c.xpmlp")
    made.tensors[name] = right
    container.write(tmp_path / "c.xpmlp", made.config, made.tensors)
    fit("other", resume=tmp_path / "c.xpmlp")


def test_weights_of_the_last_epoch_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """They are those that the model gets if the epoch in progress fails."""
    settings = xpmlp.Checkpoints(tmp_path / "all", every=1, keep=99)
    Run().fit(checkpoints=settings)
    made = next(
        found
        for found in map(Checkpoint.read, sorted((tmp_path / "all").glob("step-*.xpmlp")))
        if any("epoch.dense" in name for name in found.tensors)
    )
    name = next(name for name in made.tensors if "epoch.dense" in name)
    made.tensors[name] = np.full_like(made.tensors[name], np.nan)
    container.write(tmp_path / "c.xpmlp", made.config, made.tensors)
    with pytest.raises(CheckpointError, match="weights of the last epoch are not finite"):
        Run().fit(checkpoints=tmp_path / "b", resume=tmp_path / "c.xpmlp")


# Failures of the disk


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EACCES, errno.EIO, INTERRUPT])
def test_each_call_on_files_failing(fault: Any, tmp_path: Path, tried: Any, draws: Any) -> None:
    """The training fails or does not; what is left resumes to the same end."""
    whole = Run(epochs=2).fit().facts()
    folders, errors, calls = map(tmp_path.joinpath, map(str, itertools.count())), 0, 0
    every = draws(15, 1)

    def train() -> None:
        Run(epochs=2).fit(checkpoints=next(folders), checkpoint_every=9)

    for n, error in each_failing(fault, tmp_path, train, every):
        folder = tmp_path / f"{(n - 1) // every}"
        calls, errors = calls + 1, errors + (error is not None)
        if error is not None:
            assert isinstance(error, OSError | KeyboardInterrupt), error
            assert fault == INTERRUPT or str(folder) in str(error)
        assert Run(epochs=2).fit(checkpoints=folder, resume=True).facts() == whole, n
        assert not [p.name for p in folder.iterdir() if p.suffix != ".xpmlp"], n
    name = "interrupt" if fault == INTERRUPT else errno.errorcode[fault]
    tried(f"checkpoints while training, {name} at {calls} calls: {errors} errors, all resumed")
    assert errors > 10 / every


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EACCES, errno.EIO, INTERRUPT])
def test_each_call_failing_while_resuming(
    fault: Any, tmp_path: Path, tried: Any, draws: Any
) -> None:
    run = Run(epochs=2)
    whole = run.fit().facts()
    points = every_step(Run(epochs=2), tmp_path / "all")
    errors, calls, every = 0, 0, draws(12, 1)
    for n in range(200):
        (tmp_path / f"c/{n}").mkdir(parents=True)
        shutil.copy(points[8], tmp_path / f"c/{n}")
        shutil.copy(points[12], tmp_path / f"c/{n}")
    folders = map((tmp_path / "c").joinpath, map(str, itertools.count()))

    def resume() -> None:
        Run(epochs=2).fit(checkpoints=next(folders), resume=True)

    for n, error in each_failing(fault, tmp_path / "c", resume, every):
        folder = tmp_path / f"c/{(n - 1) // every}"
        calls, errors = calls + 1, errors + (error is not None)
        assert isinstance(error, OSError | KeyboardInterrupt | CheckpointError | None), error
        assert Run(epochs=2).fit(checkpoints=folder, resume=True).facts() == whole, n
    name = "interrupt" if fault == INTERRUPT else errno.errorcode[fault]
    tried(f"resuming, {name} at {calls} calls: {errors} errors, all resumed afterwards")
    assert errors > 5 / every


def test_killed_at_each_call(tmp_path: Path, tried: Any, draws: Any) -> None:
    whole = Run(epochs=2).fit().facts()
    folder, calls = tmp_path / "c", 0

    def train() -> None:
        Run(epochs=2).fit(checkpoints=folder, checkpoint_every=9, resume=True)

    for n in each_killed(folder, train, draws(12, 1)):
        calls += 1
        assert Run(epochs=2).fit(checkpoints=folder, resume=True).facts() == whole, n
        assert not [p.name for p in folder.iterdir() if p.suffix != ".xpmlp"], n
        shutil.rmtree(folder)
    tried(f"killed at {calls} calls on files while training: all resumed bit for bit")
