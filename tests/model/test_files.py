"""Model files: what comes back is what was saved; whatever is damaged or hostile is refused."""

import copy
import os
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xpmlp_backends
from conftest import BACKENDS, assert_close, make_backend
from model_files import (
    INPUTS,
    METADATA,
    ON_EVERY_BACKEND,
    OPTIONS,
    OWN,
    SINE,
    content,
    data,
    drop,
    forged,
    put,
    put_tensor,
    small_file,
    trained,
    wave,
)

import xpmlp
from xpmlp import losses
from xpmlp.errors import CheckpointError, GradientError, InvalidTypeError, InvalidValueError
from xpmlp.model import files
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.storage import tensorfile as container

# Back as it was


@pytest.mark.filterwarnings("ignore:the training loss ran away:UserWarning")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.sampled(3)
def test_all_comes_back_and_trains_on_alike(name: str, tmp_path: Path) -> None:
    mlp, (X, y) = trained(name), data(name)
    mlp.save(path := tmp_path / "m.xpmlp")
    loaded = xpmlp.load(path, backend="numpy", custom=OWN)
    assert content(loaded) == content(mlp)
    assert loaded.metadata == METADATA
    assert np.array_equal(loaded.predict(X), mlp.predict(X))
    assert loaded.evaluate(X, y) == mlp.evaluate(X, y)
    if mlp.task.kind == "labels":
        assert np.array_equal(loaded.predict_proba(X), mlp.predict_proba(X))

    loaded.save(again := tmp_path / "again.xpmlp")
    assert content(xpmlp.load(again, backend="numpy", custom=OWN)) == content(mlp)
    goes_on = mlp.copy()
    for one in (goes_on, loaded):
        one.fit(X, y, epochs=2, batch_size=8)
    assert content(loaded) == content(goes_on)


@pytest.mark.parametrize("name", ON_EVERY_BACKEND)
def test_a_file_is_the_same_from_and_on_every_backend(
    backend: Any, name: str, tmp_path: Path
) -> None:
    mlp, X = trained(name), data(name)[0]
    mlp.save(tmp_path / "numpy.xpmlp")
    mlp.copy(backend).save(tmp_path / "other.xpmlp")
    expected = mlp.predict(X)
    for path in (tmp_path / "numpy.xpmlp", tmp_path / "other.xpmlp"):
        assert content(xpmlp.load(path, backend="numpy", custom=OWN)) == content(mlp)
        loaded = xpmlp.load(path, backend=backend, custom=OWN)
        assert loaded.backend is backend
        assert content(loaded) == content(mlp)
        assert_close(loaded.predict(X), expected, of_max=0 if backend.name == "numpy" else 1e-5)


def test_an_untrained_model_comes_back(tmp_path: Path) -> None:
    mlp = xpmlp.MLP([3, 4, 2], loss="huber", backend="numpy", seed=np.int64(5))
    mlp.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    assert content(loaded) == content(mlp)
    with pytest.raises(InvalidValueError, match="call fit"):
        loaded.predict(np.ones((1, 3)))


def test_an_untrained_model_keeps_its_loss(tmp_path: Path) -> None:
    X, y = data("huber")
    mlp = xpmlp.MLP([INPUTS, 6, 3], loss=losses.Huber(0.25), backend="numpy", seed=5)
    mlp.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    for one in (mlp, loaded):
        one.fit(X, y, epochs=1)
    assert content(loaded) == content(mlp)


def test_a_registered_activation_needs_nothing_at_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("own output").save(path := tmp_path / "m.xpmlp")
    with pytest.raises(CheckpointError, match=r"custom activation 'sine'.*register_activation"):
        xpmlp.load(path, backend="numpy")
    monkeypatch.setitem(ACTIVATIONS, "sine", SINE)  # to be forgotten afterwards
    del ACTIVATIONS["sine"]
    xpmlp.register_activation(SINE)
    assert content(xpmlp.load(path, backend="numpy")) == content(trained("own output"))


@pytest.mark.parametrize("name", ["own activation", "own output", "own loss", "own layer"])
def test_own_functions_are_asked_for_by_name(name: str, tmp_path: Path) -> None:
    trained(name).save(path := tmp_path / "m.xpmlp")
    with pytest.raises(CheckpointError, match=r"wave|sine|log_cosh|halved"):
        xpmlp.load(path, backend="numpy", custom={"another": wave})


def own_activation_named_relu() -> dict[str, Any]:
    def relu(xp: Any, z: Any) -> Any:
        return 3.0 * z

    return {"activation": (relu, lambda xp, z: 3.0 * xp.ones_like(z))}


def own_loss_named_mse() -> dict[str, Any]:
    def mse(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        return 5.0 * xp.sum((z - y) ** 2, axis=1), 10.0 * (z - y)

    return {"loss": mse}


def own_kind_of_huber() -> dict[str, Any]:
    class Weighted(losses.Huber):
        def __call__(self, ops: Any, z: Any, y: Any) -> tuple[Any, Any]:
            rows, dz = super().__call__(ops, z, y)
            return 3.0 * rows, 3.0 * dz

    return {"loss": Weighted(2.0)}


@pytest.mark.parametrize("make", [own_activation_named_relu, own_loss_named_mse, own_kind_of_huber])
def test_an_own_function_is_never_taken_for_a_built_in_one(
    make: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    mlp, (X, y) = xpmlp.MLP([INPUTS, 6, 3], backend="numpy", seed=1, **make()), data("huber")
    mlp.fit(X, y, epochs=1)

    def save_and_load() -> None:
        mlp.save(tmp_path / "m.xpmlp")
        xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")

    with pytest.raises((CheckpointError, InvalidValueError)):
        save_and_load()


def test_files_load_where_no_other_library_can_be_imported(tmp_path: Path) -> None:
    X, writers = data("everything")[0], []
    for name in BACKENDS:
        try:
            trained("everything").copy(make_backend(name)).save(tmp_path / f"{name}.xpmlp")
        except pytest.skip.Exception:
            continue
        writers.append(name)
    np.save(tmp_path / "X.npy", X)
    code = """
import sys
for name in ("torch", "jax", "cupy", "array_api_strict", "matplotlib", "rich", "sklearn"):
    sys.modules[name] = None
import numpy as np, xpmlp
for name in sys.argv[1:]:
    np.save(f"{name}.npy", xpmlp.load(f"{name}.xpmlp").predict_proba(np.load("X.npy")))
"""
    roots = [str(Path(m.__file__ or "").parents[1]) for m in (xpmlp, xpmlp_backends)]
    environment = {k: v for k, v in os.environ.items() if k != "XPMLP_BACKEND"}
    subprocess.run(
        [sys.executable, "-c", code, *writers],
        env=environment | {"PYTHONPATH": os.pathsep.join(roots)},
        cwd=tmp_path,
        check=True,
    )
    assert "numpy" in writers
    for name in writers:
        found = np.load(tmp_path / f"{name}.npy")
        assert np.array_equal(found, trained("everything").predict_proba(X)), name


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        xpmlp.load(tmp_path / "nothing.xpmlp", backend="numpy")


# Hostile: a correct SHA-256 over content that makes no sense


def refused_in_little_memory(path: Path, hostile: bytes) -> str:
    """Load, expect a CheckpointError that names the file, and bound what NumPy allocates."""
    path.write_bytes(hostile)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as info:
            xpmlp.load(path, backend="numpy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 + 10 * len(hostile)
    assert str(path) in str(info.value)
    return str(info.value)


def nan_weight(config: Any, tensors: Any) -> None:
    tensors["dense2.W"][0, 0] = np.nan


FORGED: dict[str, Callable[[Any, Any], Any]] = {
    "config is a list": lambda config, tensors: [config],
    "config is a number": lambda config, tensors: 3,
    "config is no JSON": lambda config, tensors: "{not json}",
    "config is deep": lambda config, tensors: "[" * 100_000,
    "config has a long number": lambda config, tensors: '{"format": ' + "9" * 5000 + "}",
    **{f"no {key}": drop(key) for key in ("format", "arguments", "kind", "loss", "pixels")},
    "no metadata": drop("metadata"),
    "no epochs": drop("epochs_trained"),
    "no sizes": drop("arguments", "sizes"),
    "no activation": drop("arguments", "activation"),
    "no loss name": drop("loss", "name"),
    "format is text": put("1", "format"),
    "format is null": put(None, "format"),
    "format is 0": put(0, "format"),
    "sizes of 10**9": put([10**9, 10**9, 3], "arguments", "sizes"),
    "a hidden layer of 10**9": put([4, 10**9, 3], "arguments", "sizes"),
    "sizes of 10**9 and 0": lambda config, tensors: (
        tensors.update({"dense1.W": np.zeros((10**9, 0)), "dense2.W": np.zeros((0, 3))})
        or config["arguments"].update(sizes=[10**9, 0, 3])
    ),
    "one size": put([10**9], "arguments", "sizes"),
    "no layers": put([], "arguments", "sizes"),
    "sizes of text": put("43", "arguments", "sizes"),
    "sizes is null": put(None, "arguments", "sizes"),
    "sizes of infinity": put([float("inf"), 3, 3], "arguments", "sizes"),
    "many sizes": put([1] * 10**5, "arguments", "sizes"),
    "an argument of the future": put(1, "arguments", "quantum"),
    "a backend": put("torch", "arguments", "backend"),
    "unknown activation": put(["os.system"], "arguments", "activation"),
    "activation is a number": put([3], "arguments", "activation"),
    "activation is a list": put([["relu"]], "arguments", "activation"),
    "too many activations": put(["relu"] * 1000, "arguments", "activation"),
    "unknown output": put("os.system", "arguments", "output"),
    "unknown normalization": put("os.system", "arguments", "normalization"),
    "normalization is a list": put(["batch"], "arguments", "normalization"),
    "other normalization": put("layer", "arguments", "normalization"),
    "unknown initializer": put("os.system", "arguments", "initializer"),
    "unknown scaling": put("os.system", "arguments", "scaling"),
    "unknown dtype": put("object", "arguments", "dtype"),
    "dropout of 2": put([2.0], "arguments", "dropout"),
    "dropout is text": put("a", "arguments", "dropout"),
    "negative seed": put(-1, "arguments", "seed"),
    "seed is text": put("1", "arguments", "seed"),
    "penalty is text": put("1", "arguments", "l2"),
    "penalty is NaN": put(float("nan"), "arguments", "l1"),
    "unknown loss": put("os.system", "loss", "name"),
    "loss is a list": put(["mse"], "loss", "name"),
    "loss settings are text": put("mse", "loss", "settings"),
    "loss setting out of range": put(7.0, "loss", "settings", "label_smoothing"),
    "loss setting is text": put("a", "loss", "settings", "label_smoothing"),
    "unknown kind": put("os.system", "kind"),
    "kind is a list": put(["labels"], "kind"),
    "kind that the loss cannot take": put("values", "kind"),
    "loss is text": put("mse", "loss"),
    "pixels is text": put("maybe", "pixels"),
    "epochs is text": put("many", "epochs_trained"),
    "epochs is NaN": put(float("nan"), "epochs_trained"),
    "epochs is infinite": put(float("inf"), "epochs_trained"),
    "epochs is negative": put(-3, "epochs_trained"),
    "metadata is text": put("text", "metadata"),
    "metadata is a list of triples": put([[1, 2, 3]], "metadata"),
    "NaN weight": nan_weight,
    "weight of another shape": put_tensor("dense2.b", np.zeros(4, np.float32)),
    "matrix of another shape": put_tensor("dense2.W", np.zeros((4, 3), np.float32)),
    "complex weight": put_tensor("dense2.b", np.zeros(3, np.complex64)),
    "missing weight": lambda config, tensors: tensors.__delitem__("dense2.b"),
    "another weight": put_tensor("dense9.W", np.zeros((3, 3), np.float32)),
    "NaN scale": put_tensor("scaling.scale", np.full(4, np.nan)),
    "shift of another shape": put_tensor("scaling.shift", np.zeros(7)),
    "shift that broadcasts": put_tensor("scaling.shift", np.zeros((50, 1))),
    "infinite target scale": put_tensor("scaling.target_scale", np.full(3, np.inf)),
    "target shift of another shape": put_tensor("scaling.target_shift", np.zeros(4)),
    "complex shift": put_tensor("scaling.shift", np.zeros(4, np.complex64)),
}


def test_forging_nothing_gives_a_file_that_loads(tmp_path: Path) -> None:
    (tmp_path / "m.xpmlp").write_bytes(forged(lambda config, tensors: None))
    (tmp_path / "n.xpmlp").write_bytes(small_file())
    one, other = (xpmlp.load(tmp_path / f"{n}.xpmlp", backend="numpy") for n in "mn")
    assert content(one) == content(other)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused(name: str, tmp_path: Path) -> None:
    refused_in_little_memory(tmp_path / "m.xpmlp", forged(FORGED[name]))


def test_a_file_of_a_newer_version_says_so(tmp_path: Path) -> None:
    hostile = forged(put(container.FORMAT + 1, "format"))
    message = refused_in_little_memory(tmp_path / "m.xpmlp", hostile)
    assert f"file format {container.FORMAT + 1}" in message
    assert "Upgrade xpmlp" in message


# Whole or not at all


@pytest.fixture
def old_file(tmp_path: Path) -> Iterator[Path]:
    """A model file that a failing save must leave; afterwards there must be nothing else."""
    path = tmp_path / "m.xpmlp"
    path.write_bytes(small_file())
    yield path
    assert os.listdir(tmp_path) == ["m.xpmlp"]


@pytest.mark.parametrize(
    "wrong", [{"a": object()}, {"a": {1, 2}}, {"a": float("nan")}, {"a": np.zeros(2)}, {(1, 2): 3}]
)
def test_metadata_that_is_no_json_is_refused(wrong: Any, old_file: Path) -> None:
    mlp = trained("plain").copy()
    mlp.metadata = wrong
    with pytest.raises(InvalidValueError, match="metadata: cannot be written as JSON"):
        mlp.save(old_file)
    assert old_file.read_bytes() == small_file()


def test_metadata_comes_back_equal_or_is_refused(tmp_path: Path) -> None:
    """JSON has only text as keys: ``{0: "cat"}`` would come back as ``{"0": "cat"}``."""
    mlp = trained("plain").copy()
    mlp.metadata = {"classes": {0: "cat", 1: "dog"}}
    try:
        mlp.save(tmp_path / "m.xpmlp")
    except InvalidValueError:
        return
    assert xpmlp.load(tmp_path / "m.xpmlp", backend="numpy").metadata == mlp.metadata


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_is_respected(mask: int, mode: int, old_file: Path) -> None:
    before = os.umask(mask)
    try:
        trained("plain").save(old_file)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE(old_file.stat().st_mode) == mode


def test_saving_makes_the_folders_it_needs(tmp_path: Path) -> None:
    trained("plain").save(tmp_path / "runs" / "first" / "m.xpmlp")
    assert os.listdir(tmp_path / "runs" / "first") == ["m.xpmlp"]


@pytest.mark.parametrize("name", [".", "", "folder"])
def test_a_folder_is_no_place_for_a_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        trained("plain").save(name)
    assert str(caught.value).endswith(f"{str(Path(name))!r}")  # and no second name, "-> None"
    assert os.listdir() == ["folder"]
    assert os.listdir("folder") == []


def test_a_wrong_argument_is_not_the_files_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.xpmlp"
    trained("plain").save(path)
    with pytest.raises(InvalidTypeError, match=r"^backend: found 3"):
        xpmlp.load(path, backend=3)
    with pytest.raises(InvalidValueError, match=r"^unknown backend 'nump'"):
        xpmlp.load(path, backend="nump")
    with pytest.raises(TypeError, match="not iterable"):
        xpmlp.load(path, custom=3)  # type: ignore[arg-type]
    wrong = xpmlp.Activation("wrong", lambda ops, x: ops.xp.tanh(x), lambda ops, x, y: y)
    mlp = xpmlp.MLP([2, 3, 1], "tanh", backend="numpy")
    config, tensors = files.describe(mlp, mlp.state_dict())
    config["arguments"]["activation"] = [f"{files.OWN}wrong"]
    container.write(path, config, tensors)
    with pytest.raises(GradientError):
        xpmlp.load(path, backend="numpy", custom={"wrong": wrong})


def test_saving_does_not_change_the_model(tmp_path: Path) -> None:
    before = copy.deepcopy(content(trained("everything")))
    trained("everything").save(str(tmp_path / "m.xpmlp"))
    assert content(trained("everything")) == before


def scaled_layer(name: str, units: int) -> xpmlp.nn.layers.Layer:
    """Layer normalization under a name of the user's."""
    return xpmlp.nn.normalization.layer_norm(name, units)


def test_a_custom_layer_is_passed_in_again(tmp_path: Path) -> None:
    X = np.random.default_rng(3).normal(size=(20, 3))
    mlp = xpmlp.MLP([3, 4, 1], normalization=scaled_layer, backend="numpy", seed=1)
    mlp.fit(X, X[:, 0], epochs=1)
    mlp.save(tmp_path / "m.xpmlp")
    found = xpmlp.load(tmp_path / "m.xpmlp", "numpy", custom={"scaled_layer": scaled_layer})
    assert_close(found.predict(X), mlp.predict(X))
    with pytest.raises(CheckpointError, match="it uses a custom layer 'scaled_layer'; pass it"):
        xpmlp.load(tmp_path / "m.xpmlp", "numpy")
