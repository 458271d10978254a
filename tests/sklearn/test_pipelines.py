"""The estimators among scikit-learn's tools: frames, pipelines, searches, committees, processes."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
import joblib
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xpmlp_backends import why_not

import xpmlp
from xpmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*iprint.*:DeprecationWarning"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:300], Y[:300]
PATIENTS, PROGRESSION = load_diabetes(return_X_y=True)
VERSION = tuple(map(int, sklearn.__version__.split(".")[:2]))
FAST: dict[str, Any] = {
    "hidden_layer_sizes": (16,),
    "max_iter": 40,
    "random_state": 0,
    "learning_rate_init": 0.01,
}


def classifier(**settings: Any) -> MLPClassifier:
    return MLPClassifier(**FAST | settings)


def test_a_pipeline() -> None:
    made = make_pipeline(StandardScaler(), classifier(early_stopping=True)).fit(X, Y)
    assert made.score(X, Y) > 0.9
    assert made.predict_proba(X).shape == (300, 10)


def test_a_grid_search() -> None:
    grid = {"alpha": [1e-4, 1e3], "solver": ["adam", xpmlp.AdamW(0.01)], "dropout": [0.0, 0.1]}
    search = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(X / 16, Y)
    assert search.best_params_["alpha"] == 1e-4
    assert len(search.cv_results_["params"]) == 8
    assert search.score(X / 16, Y) > 0.8


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.sampled(2)
def test_cross_validation_in_processes(jobs: int) -> None:
    """The order of the folds, their number and that of the processes change nothing."""
    scores = cross_val_score(classifier(), X / 16, Y, cv=3, n_jobs=jobs)
    np.testing.assert_array_equal(scores, cross_val_score(classifier(), X / 16, Y, cv=3))
    assert scores.min() > 0.6


def test_committees() -> None:
    members = [("ours", classifier()), ("linear", LogisticRegression(max_iter=2000))]
    assert VotingClassifier(members, voting="soft").fit(X / 16, Y).score(X / 16, Y) > 0.9
    assert BaggingClassifier(classifier(), n_estimators=2).fit(X / 16, Y).score(X / 16, Y) > 0.7
    few = MLPRegressor(**FAST | {"solver": "lbfgs"})
    stack = StackingRegressor([("ours", few), ("ridge", Ridge())], cv=2)
    assert stack.fit(PATIENTS, PROGRESSION).score(PATIENTS, PROGRESSION) > 0.3
    scaled = TransformedTargetRegressor(few, transformer=StandardScaler())
    assert scaled.fit(PATIENTS, PROGRESSION).score(PATIENTS, PROGRESSION) > 0.4
    several = MultiOutputClassifier(classifier()).fit(X / 16, np.stack([Y > 4, Y % 2], axis=1))
    assert several.predict(X / 16).shape == (300, 2)


def test_calibration() -> None:
    made = CalibratedClassifierCV(classifier(), cv=2).fit(X / 16, Y)
    p = made.predict_proba(X / 16)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (p.argmax(axis=1) == Y).mean() > 0.8
    p = cross_val_predict(classifier(), X / 16, Y, cv=2, method="predict_proba")
    assert p.shape == (300, 10)


# Data frames


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_and_their_names(library: str) -> None:
    if library == "polars" and VERSION < (1, 9):
        pytest.skip("scikit-learn before 1.9 does not read the names of polars' frames of now")
    frames = pytest.importorskip(library)
    names = [f"pixel {i}" for i in range(64)]
    frame = frames.DataFrame(dict(zip(names, X.T / 16, strict=True)))
    made = classifier().fit(frame, frames.Series(Y))
    assert list(made.feature_names_in_) == names
    np.testing.assert_array_equal(
        made.predict_proba(frame), classifier().fit(X / 16, Y).predict_proba(X / 16)
    )
    with pytest.raises(ValueError, match="feature names should match"):
        made.predict(frame[names[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        made.predict(X / 16)
    text = np.where(Y > 4, "much", "little")
    assert set(classifier().fit(frame, frames.Series(text)).predict(frame)) == {"much", "little"}


# Metadata routing


def test_weights_are_routed() -> None:
    w = np.random.default_rng(0).uniform(0, 1, 300)
    with sklearn.config_context(enable_metadata_routing=True):
        made = (
            classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        piped = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), made)
        piped.fit(X, Y, sample_weight=w)
        search = GridSearchCV(made, {"alpha": [0.1]}, cv=2).fit(X, Y, sample_weight=w)
        assert search.best_score_ > 0.2
    scaled = StandardScaler().fit_transform(X)
    expected = classifier().fit(scaled, Y, w).predict_proba(scaled)
    np.testing.assert_array_equal(piped.predict_proba(X), expected)


def test_validation_data_are_routed() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        made = classifier().set_fit_request(X_val=True, y_val=True)
        search = GridSearchCV(made, {"alpha": [0.1]}, cv=2)
        search.fit(X, Y, X_val=X[:50], y_val=Y[:50])
    assert len(search.best_estimator_.history_["val_loss"]) == 40


# Copies and processes


@pytest.mark.parametrize("how", ["pickle", "joblib", "copy"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.sampled(5)
def test_copies_predict_and_go_on_the_same(
    backend: Any, how: str, early_stopping: bool, tmp_path: Path
) -> None:
    if backend.name == "cupy" and how != "copy" and why_not("cupy"):
        pytest.skip("a pickle of the imitated GPU's models would look for the real one")
    made = classifier(max_iter=3, backend=backend, early_stopping=early_stopping)
    made.fit(X / 16, Y)
    if how == "copy":
        again = copy.deepcopy(made)
    elif how == "joblib":
        joblib.dump(made, tmp_path / "model.joblib")
        again = joblib.load(tmp_path / "model.joblib")
    else:
        again = pickle.loads(pickle.dumps(made))
    p = made.predict_proba(X / 16)
    np.testing.assert_allclose(again.predict_proba(X / 16), p, atol=1e-12)
    held = {"X_val": X[:50] / 16, "y_val": Y[:50]} if early_stopping else {}
    for estimator in (made, again):
        estimator.partial_fit(X / 16, Y, **held)
    np.testing.assert_allclose(again.loss_curve_, made.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(again.predict_proba(X / 16), made.predict_proba(X / 16), atol=1e-10)


def test_a_pickle_does_not_grow_with_what_compiled() -> None:
    made = classifier(max_iter=2).fit(X / 16, Y)
    size = len(pickle.dumps(made))
    weights = sum(W.nbytes for W in made.coefs_)
    made.predict(X / 16)
    made.partial_fit(X / 16, Y)
    assert len(pickle.dumps(made)) < size + 2000
    assert size < 5 * weights + 20_000


WITHOUT_TORCH = """
import pickle, sys, warnings

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    made = pickle.load(open(sys.argv[1], "rb"))
X = np.load(sys.argv[2])
assert made.mlp_.backend.name == "numpy"
assert isinstance(made.coefs_[0], np.ndarray)
print(len([w for w in caught if "torch" in str(w.message)]))
np.save(sys.argv[3], made.predict_proba(X))
made.partial_fit(X, made.predict(X))
"""


def test_a_process_without_the_library_predicts_with_numpy(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    made = classifier(max_iter=3).fit(torch.tensor(X / 16), torch.tensor(Y))
    assert made.mlp_.backend.name == "torch"
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(made))
    np.save(tmp_path / "X.npy", X / 16)
    names = [str(tmp_path / name) for name in ("model.pickle", "X.npy", "p.npy")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *names],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"
    expected = made.predict_proba(torch.tensor(X / 16)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), expected, atol=1e-12)


def test_clones_share_nothing() -> None:
    made = classifier(callbacks=[xpmlp.EarlyStopping(patience=2)], backend="numpy")
    other = clone(made)
    assert other.callbacks[0] is not made.callbacks[0]
    made.fit(X / 16, Y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        other.predict(X / 16)


# scikit-learn's callbacks


@pytest.fixture
def recording() -> Any:
    """A callback of scikit-learn's that writes down what it is told."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brought callbacks")

    class Recording:
        def __init__(self, stop_after: int = 10**9) -> None:
            self.told: list[Any] = []
            self.stop_after = stop_after

        def setup(self, estimator: Any, context: Any) -> None:
            self.told.append("setup")

        def teardown(self, estimator: Any, context: Any) -> None:
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = None) -> None:
            self.told.append(("begin", context.task_name))

        def on_fit_task_end(
            self, estimator: Any, context: Any, *, fitted_estimator: Any = None
        ) -> bool:
            if context.task_name == "iteration" and fitted_estimator is not None:
                self.told.append(fitted_estimator.score(self.X, self.y))
            self.told.append(("end", context.task_name))
            return self.told.count(("end", "iteration")) >= self.stop_after

        X, y = X / 16, Y

    return Recording


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scikit_learns_callbacks(recording: Any, solver: str) -> None:
    told = recording()
    made = classifier(max_iter=3, solver=solver).set_callbacks(told)
    assert made.fit(X / 16, Y) is made
    assert told.told[:2] == ["setup", ("begin", "fit")]
    assert told.told[-2:] == [("end", "fit"), "teardown"]
    ends = told.told.count(("end", "iteration"))
    assert ends == told.told.count(("begin", "iteration"))
    assert ends == (3 if solver == "adam" else 4)  # L-BFGS begins one that it does not finish
    scores = [x for x in told.told if isinstance(x, float)]
    assert scores[-1] == made.score(X / 16, Y)
    plain = classifier(max_iter=3, solver=solver).fit(X / 16, Y)
    np.testing.assert_array_equal(plain.predict_proba(X / 16), made.predict_proba(X / 16))


def test_scikit_learns_callbacks_can_stop(recording: Any) -> None:
    made = classifier(max_iter=30).set_callbacks(recording(stop_after=2)).fit(X / 16, Y)
    assert made.n_iter_ == 2


def test_scikit_learns_progress_bar() -> None:
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brought callbacks")
    pytest.importorskip("rich")
    made = classifier(max_iter=3).set_callbacks(callback.ProgressBar()).fit(X / 16, Y)
    assert made.n_iter_ == 3
