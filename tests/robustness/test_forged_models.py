"""Model files whose SHA-256 is right, and whose configuration is nonsense at random."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import data, forged, saved, trained

import xpmlp
from xpmlp.errors import CheckpointError, XpmlpError

resource = pytest.importorskip("resource")  # Windows has none

NAMES = ("plain", "everything", "huber", "pixels", "initializer", "poisson")
SECONDS = 10.0  # work out of proportion to the size takes minutes
BYTES = 64 * 2**20


def nested(depth: int) -> Any:
    made: Any = []
    for _ in range(depth):
        made = [made]
    return made


NONSENSE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**9, 2**31, 2**63, 2**64, 10**400, -(10**400), 10**4299),
    *(-0.0, 0.5, 1.0, -1.5, 1e-300, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", "relu", "own:relu", "softmax", "mse", "huber", "auto", "layer", "batch", "labels"),
    *("values", "standard", "float16", "float64", "os.system", "é\0\ud800", "x" * 10_000),
    *([], [[]], [0], [None], ["relu"], [1] * 1000, [10**9] * 3, nested(400), nested(800)),
    *({}, {"a": 1}, {"name": "mse", "settings": {}}, {"name": "huber", "settings": {"delta": []}}),
)
TEXTS = [json.dumps(nonsense) for nonsense in NONSENSE]
KEYS = ("sizes", "backend", "device", "name", "metadata", "__class__", "")


def places(node: Any, depth: int = 4) -> Iterator[tuple[Any, Any]]:
    """Every container and key of a configuration, without going too deep."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if depth and isinstance(node[key], dict | list):
            yield from places(node[key], depth - 1)


def spoil(config: Any, rng: np.random.Generator) -> None:
    """Replace, drop or add one to three entries."""
    for _ in range(int(rng.integers(1, 4))):
        found = list(places(config))
        node, key = found[rng.integers(len(found))]
        nonsense = json.loads(TEXTS[rng.integers(len(TEXTS))])
        match int(rng.integers(10)):
            case 0:
                del node[key]
            case 1 if isinstance(node, list):
                node.insert(key, nonsense)
            case 1:
                node[KEYS[rng.integers(len(KEYS))]] = nonsense
            case _:
                node[key] = nonsense


def use(mlp: xpmlp.MLP, again: Path) -> None:
    """What loaded can be used and saved, or says why not."""
    X = data("plain")[0]
    for call in (lambda: mlp.predict(X), lambda: mlp.save(again)):
        with contextlib.suppress(XpmlpError):
            call()


def test_nonsense_with_a_right_digest(
    tmp_path: Path, rng: np.random.Generator, draws: Any, tried: Any
) -> None:
    originals = [saved(trained(name)) for name in NAMES]
    path, loaded, messages = tmp_path / "m.xpmlp", 0, []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = draws(200, 600, 6000)
    for k in range(count):
        original = originals[k % len(NAMES)]
        path.write_bytes(forged(lambda config, tensors: spoil(config, rng), original))
        start = time.process_time()
        try:
            mlp = xpmlp.load(path, backend="numpy")
        except CheckpointError as error:
            messages.append(str(error))
        else:
            loaded += 1
            use(mlp, tmp_path / "again.xpmlp")
        assert time.process_time() - start < SECONDS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert 1024 * grown < BYTES
    assert all(str(path) in message and len(message) < 1000 for message in messages)
    assert len(messages) > count / 2
    assert loaded > count / 50  # some entries may be anything
    tried(
        f"{count:,} configurations of nonsense with a right SHA-256: a model or a CheckpointError"
    )


def test_a_very_long_name_is_refused_at_once(tmp_path: Path) -> None:
    """The nearest known name is looked for, in a time that grows with the length."""

    def rename(config: Any, tensors: Any) -> None:
        config["arguments"]["initializer"] = "x" * 10**6

    (tmp_path / "m.xpmlp").write_bytes(forged(rename))
    start = time.process_time()
    with pytest.raises(CheckpointError, match="unknown initializer 'xxx") as info:
        xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    assert time.process_time() - start < SECONDS
    assert len(str(info.value)) < 1000
