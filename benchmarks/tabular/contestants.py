"""Who takes part: xpmlp's recipes, pytabkit's, and what people use on tables, at their defaults.

Each is a function of the kind, the number of threads and the seed that returns an estimator; X is
a pandas frame with categories and missing values, which each takes as its own manual says.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

Make = Callable[[str, int, int], Any]


@dataclass(frozen=True)
class Contestant:
    """One that takes part.

    Attributes
    ----------
    make : callable (kind, threads, seed) -> estimator
    needs : str or None
        The package without which it is left out.
    """

    make: Make
    needs: str | None = None

    @property
    def why_not(self) -> str | None:
        """Why it cannot take part here; None if it can."""
        there = self.needs is None or find_spec(self.needs)
        return None if there else f"{self.needs} is not installed"


def _ours(recipe: str, **options: Any) -> Make:
    def make(kind: str, threads: int, seed: int) -> Any:
        from xpmlp.sklearn import TabularClassifier, TabularRegressor

        cls = TabularClassifier if kind == "classes" else TabularRegressor
        return cls(recipe=recipe, random_state=seed, **options)

    return make


class Plain:
    """What ``xpmlp train table.csv --recipe plain`` trains, with the weights of the last epoch."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed

    def fit(self, X: Any, y: np.ndarray) -> "Plain":
        """Train on a frame and class indices or values."""
        import xpmlp
        from xpmlp.cli.defaults import fill_in

        names = ("hidden", "epochs", "batch_size", "lr", "dropout")
        args = Namespace(data="table.csv", **dict.fromkeys(names))
        fill_in(args, len(X), numbers=self.kind == "values")
        table = xpmlp.Table().fit(X)
        outputs = int(y.max()) + 1 if self.kind == "classes" else 1
        self.mlp = xpmlp.MLP(
            [table.width, *args.hidden, outputs],
            targets="labels" if self.kind == "classes" else "values",
            dropout=args.dropout,
            scaling="standard",
            table=table,
            backend="numpy",
            seed=self.seed,
        )
        rate = xpmlp.schedules.Cosine(args.lr)
        options = {"epochs": args.epochs, "batch_size": args.batch_size, "metrics": False}
        self.mlp.fit(X, y, optimizer=xpmlp.Adam(rate), **options)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return class indices or values."""
        return np.asarray(self.mlp.predict(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classes' probabilities."""
        return np.asarray(self.mlp.predict_proba(X))


def _pytabkit(name: str) -> Make:
    def make(kind: str, threads: int, seed: int) -> Any:
        from sklearn.pipeline import make_pipeline

        cls = getattr(
            import_module("pytabkit"),
            f"{name}_{'Classifier' if kind == 'classes' else 'Regressor'}",
        )
        model = cls(device="cpu", random_state=seed, n_threads=threads)
        return make_pipeline(Filled(), model)  # it takes no missing numbers

    return make


class Filled:
    """Puts the median in the place of missing numbers, and adds whether they were missing."""

    def fit(self, X: Any, y: Any = None) -> "Filled":
        """Learn the medians."""
        numbers = X.select_dtypes("number")
        self.medians = numbers.median()
        self.missing = [name for name in numbers if numbers[name].isna().any()]
        return self

    def transform(self, X: Any) -> Any:
        """Return the filled frame."""
        new = {f"{name} is missing": X[name].isna().astype(float) for name in self.missing}
        return X.fillna(self.medians).assign(**new)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Do both."""
        return self.fit(X).transform(X)


def _scikit(kind: str, threads: int, seed: int) -> Any:
    from sklearn.compose import (
        TransformedTargetRegressor,
        make_column_selector,
        make_column_transformer,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        sparse_threshold=0,
    )
    if kind == "classes":
        return make_pipeline(columns, MLPClassifier(random_state=seed))
    model = make_pipeline(columns, MLPRegressor(random_state=seed))
    return TransformedTargetRegressor(model, transformer=StandardScaler())


def _hist(kind: str, threads: int, seed: int) -> Any:
    from sklearn import ensemble

    name = "Classifier" if kind == "classes" else "Regressor"
    return getattr(ensemble, f"HistGradientBoosting{name}")(random_state=seed)


def _lightgbm(kind: str, threads: int, seed: int) -> Any:
    lightgbm = import_module("lightgbm")

    name = "Classifier" if kind == "classes" else "Regressor"
    return getattr(lightgbm, f"LGBM{name}")(random_state=seed, n_jobs=threads, verbose=-1)


def _xgboost(kind: str, threads: int, seed: int) -> Any:
    xgboost = import_module("xgboost")

    name = "Classifier" if kind == "classes" else "Regressor"
    options = {"random_state": seed, "n_jobs": threads, "enable_categorical": True}
    return getattr(xgboost, f"XGB{name}")(**options)


class CatBoost:
    """CatBoost, which wants the names of the categories, and text in their cells."""

    def __init__(self, kind: str, threads: int, seed: int) -> None:
        self.kind = kind
        self.options: dict[str, Any] = {"random_seed": seed, "thread_count": threads, "verbose": 0}
        self.options["allow_writing_files"] = False

    def fit(self, X: Any, y: np.ndarray) -> "CatBoost":
        """Train."""
        catboost = import_module("catboost")

        self.categories = list(X.select_dtypes("category").columns)
        name = "Classifier" if self.kind == "classes" else "Regressor"
        make = getattr(catboost, f"CatBoost{name}")
        self.model = make(**self.options, cat_features=self.categories)
        self.model.fit(self._texts(X), y)
        return self

    def _texts(self, X: Any) -> Any:
        texts = {name: X[name].astype(object).fillna("missing") for name in self.categories}
        return X.assign(**texts)

    def predict(self, X: Any) -> np.ndarray:
        """Return class indices or values."""
        return np.asarray(self.model.predict(self._texts(X))).reshape(len(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classes' probabilities."""
        return np.asarray(self.model.predict_proba(self._texts(X)))


CONTESTANTS: Mapping[str, Contestant] = {
    "fast": Contestant(_ours("fast")),
    "td-s": Contestant(_pytabkit("RealMLP_TD_S"), "pytabkit"),
    "best": Contestant(_ours("best")),
    "td": Contestant(_pytabkit("RealMLP_TD"), "pytabkit"),
    "best32": Contestant(_ours("best", ensemble=32)),
    "plain": Contestant(lambda kind, threads, seed: Plain(kind, seed)),
    "sklearn-mlp": Contestant(_scikit),
    "hist-gb": Contestant(_hist),
    "lightgbm": Contestant(_lightgbm, "lightgbm"),
    "catboost": Contestant(CatBoost, "catboost"),
    "xgboost": Contestant(_xgboost, "xgboost"),
}
"""In the order in which they take their turns: those that are compared are neighbours."""
