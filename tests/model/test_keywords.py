"""Arguments under the names of other libraries: refused, with their name and place here."""

import inspect
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.keywords import _HERE

X, Y = np.eye(4), np.array([0, 1, 2, 0])


def network(**options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([4, 5, 3], backend="numpy", seed=0, **options)


def fit(**options: Any) -> Any:
    return network().fit(X, Y, **options)


@pytest.mark.parametrize("call", [network, fit])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("learning_rate", r"optimizer=xpmlp.Adam\(learning_rate=0.001\)"),
        ("lr", r"optimizer=xpmlp.Adam\(learning_rate"),
        ("ema", r"optimizer=xpmlp.Adam\(average=0.999"),
        ("freeze", r"optimizer=xpmlp.Adam\(groups=\{'dense1.\*': \{'rate': 0"),
        ("verbose", r"progress=True"),
        ("batch", "batch_size=128"),
        ("max_iter", "epochs=20"),
        ("hidden_layer_sizes", r"MLP\(\[inputs, 100, outputs\]\)"),
        ("random_state", "seed=0"),
        ("n_jobs", "Leave it out"),
        ("quite_something", "Known: .*, "),
    ],
)
def test_what_other_libraries_call_it(call: Any, name: str, said: str) -> None:
    with pytest.raises(InvalidTypeError, match=f"(MLP|fit): unknown argument '{name}'. .*{said}"):
        call(**{name: 1})


@pytest.mark.parametrize(
    ("call", "name", "said"),
    [
        (network, "epochs", "MLP: .* It is an argument of fit"),
        (network, "droput", "Did you mean 'dropout'?"),
        (fit, "loss", "fit: .* It is an argument of MLP"),
        (fit, "epoch", "Did you mean 'epochs'?"),
        (lambda **o: network().predict(X, **o), "batch_size", "predict: .* argument of fit"),
        (lambda **o: network().evaluate(X, Y, **o), "verbose", "evaluate: unknown"),
        (network().copy, "droput", "Did you mean 'dropout'?"),
    ],
)
def test_an_argument_of_another_call_or_misspelt(call: Any, name: str, said: str) -> None:
    with pytest.raises(InvalidTypeError, match=said):
        call(**{name: 1})


def test_sizes_may_be_missing() -> None:
    with pytest.raises(InvalidTypeError, match="The sizes of all layers come first"):
        xpmlp.MLP(hidden_layer_sizes=(3,))  # type: ignore[call-arg]


def test_no_argument_of_ours_is_called_unknown() -> None:
    ours = {*inspect.signature(xpmlp.MLP).parameters, *inspect.signature(xpmlp.MLP.fit).parameters}
    assert {"sizes", "seed", "epochs", "optimizer"} <= ours
    assert not ours & {name for names in _HERE for name in names}


@pytest.mark.parametrize(
    ("loss", "meant"),
    [
        ("crossentropy", ["binary_", "categorical_", "sparse_categorical_"]),
        ("cross-entropy", ["binary_", "categorical_", "sparse_categorical_"]),
        ("sparse_categorical_crossentropy", ["sparse_categorical_"]),
        ("log_loss", ["sparse_categorical_", "binary_"]),
        ("ce", ["sparse_categorical_", "binary_"]),
        ("bce", ["binary_"]),
    ],
)
def test_cross_entropies_by_other_names(loss: str, meant: list[str]) -> None:
    names = " or ".join(f"'{kind}cross_entropy'" for kind in meant)
    with pytest.raises(InvalidValueError, match=rf"Did you mean {names}\?"):
        network(loss=loss)
    for kind in meant:
        network(loss=f"{kind}cross_entropy")
