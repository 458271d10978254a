"""Training on augmented pictures, on every backend: interrupted, continued, step by step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from model_files import drop, forged, put, saved, trained
from test_inside_steps import dpnp, guarded, strict

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.nn.augmented import Augment
from xpmlp.nn.random import augment_keys

SHAPE, N = (6, 5), 40
ALL = ["elastic:6", "rotate", "shift:1", "scale", "shear", "erase", "noise:5"]
MOVES = ["elastic:6", "rotate", "shift:1"]

few = pytest.mark.parametrize("name", ["numpy", "strict", "torch"])
"""Where the loop is what is tested: other backends take the same steps."""


def example() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N, 30)).astype(np.uint8), rng.integers(0, 3, N)


def model(backend: Any, **more: Any) -> xpmlp.MLP:
    given: dict[str, Any] = {"dropout": 0.2, "seed": 3, "image_shape": SHAPE} | more
    return xpmlp.MLP([30, 12, 3], backend=backend, **given)


def same(one: xpmlp.MLP, other: xpmlp.MLP) -> None:
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_a_run_is_the_same_on_every_backend(backend: Any) -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "optimizer": xpmlp.SGD(0.05)}
    mlp = model(backend)
    history = mlp.fit(*example(), augment=ALL, **options)
    right = model(make_backend("numpy-readonly"))
    right.fit(*example(), augment=ALL, **options)
    for name, value in right.state_dict().items():
        assert_close(mlp.state_dict()[name], value, atol=2e-5)
    if backend.name == "numpy" and type(backend).__name__ == "NumpyBackend":
        assert history.execution.mode == "recorded"


def test_a_step_is_one_on_the_pictures_that_its_key_makes(backend: Any) -> None:
    """The same pictures, made by hand and scaled by hand, without augmentation."""
    X, y = example()
    made: Any = Augment.of(MOVES, SHAPE)
    key = augment_keys(3, 0, 1)[0, 0]
    x = made(make_backend("numpy").ops, X.astype(np.float32), key) / np.float32(255)
    options: dict[str, Any] = {"epochs": 1, "batch_size": None, "optimizer": xpmlp.SGD(0.5)}
    augmented, plain = (model(backend, dropout=0.0) for _ in range(2))
    augmented.fit(X, y, augment=MOVES, shuffle=False, **options)
    plain.fit(x, y, shuffle=False, **options)
    for name, value in plain.state_dict().items():
        assert_close(augmented.state_dict()[name], value, atol=1e-6)


@few
def test_strength_0_and_none_are_no_augmentation(name: str) -> None:
    backend = make_backend(name)
    one, other = model(backend), model(backend)
    one.fit(*example(), epochs=1, augment=["shift:0", "elastic:0"])
    other.fit(*example(), epochs=1)
    same(one, other)
    assert one.augment is None


def test_dropout_is_the_same_with_augmentation_as_without() -> None:
    """Its keys come from a stream of their own, so a run stays what it was but for its pictures."""
    mlp = model("numpy")
    before = mlp.network.keys(3, 0)
    mlp.fit(*example(), epochs=1, augment="noise")
    np.testing.assert_array_equal(mlp.network.keys(3, 0), before)


@pytest.mark.parametrize("library", [strict, dpnp])
def test_nothing_crosses_between_host_and_device(library: Any) -> None:
    mlp = model(guarded(library))
    history = mlp.fit(*example(), epochs=1, batch_size=16, augment=ALL)
    assert np.isfinite(history["loss"][0])


@few
def test_data_on_the_host_and_sparse_data_give_the_same(name: str) -> None:
    backend = make_backend(name)
    import scipy.sparse

    X, y = example()
    X = np.where(X > 128, X, 0).astype(np.uint8)
    made = [model(backend) for _ in range(3)]
    for mlp, given, where in zip(
        made, (X, X, scipy.sparse.csr_array(X)), ("device", "host", "auto"), strict=True
    ):
        mlp.fit(given, y, epochs=1, batch_size=16, augment=MOVES, data_on=where)
    same(made[0], made[1])
    same(made[0], made[2])


@few
def test_an_interrupted_run_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    backend = make_backend(name)

    class Stop(xpmlp.Callback):
        every = 4

        def on_batch_end(self, training: Any) -> None:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "augment": ALL}
    whole, broken, resumed = (model(backend) for _ in range(3))
    whole.fit(*example(), **options)
    options |= {"checkpoints": tmp_path, "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*example(), callbacks=[Stop()], **options)
    resumed.fit(*example(), resume=True, **options)
    same(whole, resumed)


def test_another_augmentation_does_not_resume_a_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 1, "checkpoints": tmp_path}
    model("numpy").fit(*example(), augment="elastic", **options)
    for other in (None, "rotate", "elastic:3"):
        with pytest.raises(InvalidValueError, match="had other augment"):
            model("numpy").fit(*example(), augment=other, resume=True, **options)


def test_a_continued_run_has_what_it_is_given() -> None:
    one, two = model("numpy"), model("numpy")
    one.fit(*example(), epochs=3, augment=MOVES, optimizer=xpmlp.Adam(0.01))
    two.fit(*example(), epochs=1, augment=MOVES, optimizer=xpmlp.Adam(0.01))
    two.fit(*example(), epochs=2, augment=MOVES, optimizer=xpmlp.Adam(0.01), continued=True)
    same(one, two)
    two.fit(*example(), epochs=1, continued=True)
    assert two.augment is None


@few
def test_a_loop_takes_the_steps_of_fit(name: str) -> None:
    backend = make_backend(name)
    fitted, stepped, split = (model(backend) for _ in range(3))
    fitted.fit(*example(), epochs=1, batch_size=16, augment=MOVES, metrics=False)
    for mlp in (stepped, split):
        loop = xpmlp.Loop(mlp, *example(), epochs=1, batch_size=16, augment=MOVES)
        for batch in loop.batches():
            if mlp is stepped:
                loop.step(batch)
            else:
                loop.update(batch, *loop.gradient(batch))
    same(fitted, stepped)
    for name, value in fitted.state_dict().items():
        assert_close(split.state_dict()[name], value, atol=1e-6)


def test_ready_batches_are_augmented() -> None:
    X, y = example()
    rows = [slice(0, 16), slice(16, 32), slice(32, N)]
    streamed, fitted = model("numpy"), model("numpy")
    streamed.fit(batches=[(X[r], y[r]) for r in rows], epochs=2, augment=MOVES)
    fitted.fit(X, y, epochs=2, batch_size=16, shuffle=False, augment=MOVES)
    for name, value in fitted.state_dict().items():
        assert_close(streamed.state_dict()[name], value, atol=1e-6)


@few
@pytest.mark.parametrize("shuffle", [True, False])
def test_networks_that_share_nothing_train_as_each_alone(name: str, shuffle: bool) -> None:
    backend = make_backend(name)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 16, "shuffle": shuffle, "augment": MOVES}
    both = model(backend, ensemble=2)
    both.fit(*example(), **options)
    for i in range(2):
        alone = model(backend, seed=3 + i)
        alone.fit(*example(), **options)
        for part, value in alone.state_dict().items():
            assert_close(both.state_dict()[part][i], value, atol=2e-5)


@few
def test_networks_that_share_weights_see_the_same_pictures(name: str) -> None:
    backend = make_backend(name)
    mlp = model(backend, ensemble=2, sharing="mini")
    assert np.isfinite(mlp.fit(*example(), epochs=1, batch_size=16, augment=MOVES)["loss"][0])


def test_dropout_with_a_schedule_keeps_the_key_of_augmentation() -> None:
    rate = xpmlp.schedules.FlatCos(0.2)
    constant, scheduled = model("numpy", dropout=0.2), model("numpy", dropout=rate)
    for mlp in (constant, scheduled):
        mlp.fit(*example(), epochs=1, batch_size=None, augment=MOVES)
    for name, value in constant.state_dict().items():
        assert_close(scheduled.state_dict()[name], value, atol=1e-6)


def test_a_changed_function_is_compiled_anew() -> None:
    settings = {"share": 1.0}

    def darker(xp: Any, pictures: Any, draw: Any) -> Any:
        return pictures * settings["share"]

    X, y = example()
    mlp, other = model("numpy"), model("numpy")
    mlp.fit(X, y, epochs=1, augment=darker)
    settings["share"] = 0.5
    mlp.fit(X, y, epochs=1, augment=darker)
    other.fit(X, y, epochs=1)
    other.fit(X, y, epochs=1, augment=lambda xp, pictures, draw: pictures * 0.5)
    same(mlp, other)


def test_a_file_keeps_what_was_done_to_the_pictures(tmp_path: Path) -> None:
    mlp, path = model("numpy"), tmp_path / "model.xpmlp"
    mlp.fit(*example(), epochs=1, augment=ALL)
    mlp.save(path)
    found = xpmlp.load(path, backend="numpy")
    assert found.augment == mlp.augment == mlp.copy().augment
    assert found.network.architecture.image_shape == SHAPE

    def own(xp: Any, pictures: Any, draw: Any) -> Any:
        return pictures

    mlp.fit(*example(), epochs=1, augment=[own, "shift"])
    mlp.save(path)
    assert xpmlp.load(path, backend="numpy").augment is None
    assert xpmlp.load(path, backend="numpy", custom={"own": own}).augment == mlp.augment


@pytest.mark.parametrize(
    "entries",
    [
        "elastic",
        3,
        [],
        ["elastic"],
        [["elastc", {}]],
        [[["elastic"], {}]],
        [["elastic", {"strength": -1}]],
        [["elastic", {"strength": 10**400}]],
        [["elastic", {"strength": [1]}]],
        [["elastic", {"other": 1}]],
        [["elastic", 5]],
        [["elastic", {}, 1]],
        [[{}, None]],
    ],
)
def test_a_file_with_nonsense_is_refused(entries: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.xpmlp"
    path.write_bytes(forged(put(entries, "augment"), saved(trained("pixels"))))
    if entries == []:
        assert xpmlp.load(path, backend="numpy").augment is None
        return
    with pytest.raises(xpmlp.errors.CheckpointError, match=r"model\.xpmlp"):
        xpmlp.load(path, backend="numpy")
    path.write_bytes(forged(drop("arguments", "image_shape"), saved(trained("pixels"))))
    with pytest.raises(xpmlp.errors.CheckpointError, match="image_shape"):
        xpmlp.load(path, backend="numpy")


def test_a_fit_that_is_refused_leaves_the_augmentation() -> None:
    mlp = model("numpy")
    mlp.fit(*example(), epochs=1, augment="shift")
    before = mlp.augment
    with pytest.raises(InvalidValueError, match="Did you mean 'elastic'"):
        mlp.fit(*example(), augment="elastc")
    assert mlp.augment == before


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled")
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"image_shape": None}, "make it with one: MLP"),
        ({"scaling": "robust"}, "scaling='robust'"),
        ({"embedding": xpmlp.Embedding(None, categories={0: 256})}, "or that are codes"),
    ],
)
def test_pictures_must_come_in_as_they_are(more: Any, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        model("numpy", **more).fit(*example(), epochs=1, augment="shift")


@pytest.mark.parametrize("shape", [(6, 6), 30, (30,), (6.5, 5), "65", (0, 30), (-6, -5)])
def test_a_shape_that_is_not_the_inputs(shape: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"image_shape: found .*of 30 pixels"):
        model("numpy", image_shape=shape)
