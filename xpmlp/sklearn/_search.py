"""Many settings of one architecture trained as one network, with successive halving."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from xpmlp.arrays.checks import whole
from xpmlp.arrays.rows import DeviceRows
from xpmlp.errors import DivergenceError, InvalidTypeError, InvalidValueError, require, unknown_name
from xpmlp.mlp import MLP
from xpmlp.model.members import subset
from xpmlp.nn.rates import PerNetwork
from xpmlp.show.facts import as_html, as_text
from xpmlp.sklearn import _batches, _parameters
from xpmlp.sklearn._arrays import (
    Examples,
    check_pair,
    check_weights,
    compute_dtype,
    other_backend,
)

SEARCHED = ("learning_rate_init", "alpha", "l1", "random_state")
"""The parameters in which networks trained as one may differ."""


@dataclass(frozen=True)
class Search:
    """The result of ``search``.

    Attributes
    ----------
    best : dict
        The best setting.
    best_score : float
        Its score on the validation rows: accuracy, or R².
    table : list of dict
        A row for each setting, the best first: its parameters, the epochs that it was trained for,
        its ``score`` and ``loss`` on the validation rows then, and whether it ``diverged``.
        Settings that were trained for longer come before the others.
    estimator : estimator
        With the best setting; fitted on all rows, unless ``refit`` was False.

    Examples
    --------
    >>> from xpmlp.sklearn import MLPRegressor, search
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=8, random_state=0)
    >>> found = search(model, {"learning_rate_init": [1e-3, 1e-1]}, X, X[:, 0], epochs=30)
    >>> found.best, [row["epochs"] for row in found.table]
    ({'learning_rate_init': 0.1}, [30, 30])
    """

    best: dict[str, Any]
    best_score: float
    table: list[dict[str, Any]]
    estimator: Any

    def to_frame(self) -> Any:
        """Return the table as a data frame of pandas.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> from xpmlp.sklearn import Search
        >>> row = {"alpha": 0.1, "epochs": 9, "score": 0.5, "loss": 1.0, "diverged": False}
        >>> Search({"alpha": 0.1}, 0.5, [row], None).to_frame()["score"].tolist()
        [0.5]
        """
        pandas = require("pandas", extra="", purpose="to_frame")
        return pandas.DataFrame(self.table)

    def __repr__(self) -> str:
        return as_text(self._title(), self._rows())

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._rows())

    def _title(self) -> str:
        return f"Search over {len(self.table)} settings, best score {self.best_score:.4g}"

    def _rows(self) -> list[tuple[str, ...]]:
        shown = [tuple(self.table[0])]
        for row in self.table[:10]:
            shown.append(
                tuple(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
            )
        return shown


def search(
    estimator: Any,
    settings: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
    X: Any,
    y: Any,
    *,
    epochs: int = 81,
    eta: int = 3,
    halving: bool = True,
    validation: float = 0.2,
    sample_weight: Any = None,
    refit: bool = True,
    random_state: Any = 0,
) -> Search:
    """Train many settings of one estimator as one network, and return the best.

    The networks have the estimator's architecture. All see the same batches, and are compared on
    the same validation rows. With successive halving (Jamieson and Talwalkar 2016) all of them
    train for a few epochs, the best third of them for three times as many, and so on; networks
    that diverge are left out.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Not changed. Its solver trains on batches; ``early_stopping``, ``callbacks`` and
        ``max_iter`` count only for the last fit.
    settings : mapping of str to list, or list of dict
        Values of ``learning_rate_init``, ``alpha``, ``l1`` and ``random_state``: all combinations,
        or the settings one by one.
    X, y, sample_weight : array-like
        As for ``estimator.fit``.
    epochs : int
        For which the last settings are trained.
    eta : int
        The best ``1/eta`` of the settings go on, to ``eta`` times as many epochs.
    halving : bool
        If False, all settings are trained for ``epochs``.
    validation : float
        Share of the rows for the comparison.
    refit : bool
        Whether to fit the best setting on all rows.
    random_state : int or RandomState
        Draws the validation rows and the order of the others.

    Returns
    -------
    Search

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For settings that networks trained as one cannot differ in, and if all of them diverge.
    ValueError
        For data that cannot work, as ``estimator.fit``.

    Examples
    --------
    >>> from xpmlp.sklearn import MLPClassifier, search
    >>> points = xpmlp.data.make_xor(n=120)
    >>> model = MLPClassifier(hidden_layer_sizes=(16,), solver="adam", random_state=0)
    >>> rates = {"learning_rate_init": [1e-4, 3e-3, 1e-1], "alpha": [0.0, 1e-2, 1.0]}
    >>> found = search(model, rates, points.X, points.y, epochs=27)
    >>> len(found.table), found.best["learning_rate_init"] > 1e-3
    (9, True)
    """
    each = _settings(settings)
    epochs, eta = whole("epochs", epochs), whole("eta", eta)
    if eta < 2:
        raise InvalidValueError(f"eta: found {eta}; expected 2 or more")
    race = _Race(estimator, each, X, y, sample_weight, validation, check_random_state(random_state))
    table = race.run(_rungs(len(each), epochs, eta) if halving else [(epochs, len(each))])
    best = {name: value for name, value in table[0].items() if name in each[0]}
    chosen = clone(estimator).set_params(**best)
    if refit:
        chosen.fit(X, y, **({} if sample_weight is None else {"sample_weight": sample_weight}))
    return Search(best, table[0]["score"], table, chosen)


def _settings(given: Any) -> list[dict[str, Any]]:
    """Return the settings one by one, checked."""
    if isinstance(given, Mapping):
        made = [dict(zip(given, values, strict=True)) for values in product(*given.values())]
    elif isinstance(given, Sequence) and all(isinstance(one, Mapping) for one in given):
        made = [dict(one) for one in given]
    else:
        raise InvalidTypeError(
            f"settings: found {given!r}; expected a dict of lists, or a list of dicts"
        )
    if not made or not made[0]:
        raise InvalidValueError("settings: found none; expected at least one")
    for one in made:
        if one.keys() != made[0].keys():
            raise InvalidValueError(
                f"settings: found {sorted(one)} beside {sorted(made[0])}; expected the same "
                "parameters in each"
            )
        for name in one:
            if name not in SEARCHED:
                raise unknown_name("parameter to search in one network", name, SEARCHED)
    return made


def _rungs(count: int, epochs: int, eta: int) -> list[tuple[int, int]]:
    """Return at which epoch how many settings are still there, for each comparison."""
    halvings = min(round(math.log(count, eta), 9).__floor__(), round(math.log(epochs, eta)))
    rungs = []
    for i in range(halvings + 1):
        at = max(1, epochs // eta ** (halvings - i))
        rungs.append((at, max(1, math.ceil(count / eta**i))))
    return rungs


class _Race:
    """Settings that are trained as one network, and compared at some epochs."""

    def __init__(
        self,
        estimator: Any,
        settings: list[dict[str, Any]],
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: float,
        draw: np.random.RandomState,
    ) -> None:
        self.settings = settings
        self.each = [clone(estimator).set_params(**setting) for setting in settings]
        for one in self.each:
            one._validate_params()
        self.first = e = self.each[0]
        if not _parameters.is_stochastic(e.solver):
            raise InvalidValueError(
                "search: found solver='lbfgs', which has neither batches nor rates; use 'adam' or "
                "'sgd'"
            )
        X = e._as_inputs(X, learn=True)
        X, y = check_pair(e, X, y, reset=True, numeric=e._numeric)
        weight = e._row_weights(y, check_weights(sample_weight, len(y)), False)
        e._learn_targets(y, True, False)
        self.kept, self.held_out = _split(Examples(X, y, e._encode(y), weight), validation, draw)
        self.draw, self.batch = draw, _batches._batch_size(e, len(self.kept.target))
        sizes = [X.shape[1], *_parameters.hidden_sizes(e.hidden_layer_sizes), e.n_outputs_]
        self.mlp = self._network(sizes, compute_dtype(X, e.dtype), other_backend(X))

    def _network(self, sizes: list[int], dtype: str, of_X: Any) -> MLP:
        """Return the ensemble, each network with the first weights of its setting."""
        e, k = self.first, len(self.each)
        seeds = [int(check_random_state(one.random_state).randint(2**31 - 1)) for one in self.each]
        penalties = {
            "l1": [float(one.l1) for one in self.each],
            "l2": [float(one.alpha) for one in self.each],
        }
        mlp = MLP(
            sizes,
            **(e._network_settings() | penalties),
            **e._first_settings(),
            penalty_on="sum",
            dtype=dtype,
            backend=e._choose_backend(of_X),
            device=e.device,
            seed=seeds,
            ensemble=k,
        )
        if e.initializer is not None:
            return mlp
        states = [check_random_state(one.random_state) for one in self.each]
        drawn = _parameters.first_weights(mlp, states)
        values = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
        mlp.load_state_dict(mlp.state_dict() | values)
        return mlp

    def run(self, rungs: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Train; return the table of all settings, the best first."""
        alive = list(range(len(self.settings)))
        rows = {i: {"epochs": 0, "score": -math.inf, "loss": math.inf} for i in alive}
        order = _batches._order(self.draw, len(self.kept.target)) if self.first.shuffle else False
        orders = _Orders(order) if callable(order) else False
        lost: set[int] = set()
        for at, count in rungs:
            best = sorted(alive, key=lambda i: _rank(rows[i]))[:count]
            alive = self._keep(alive, [i for i in alive if i in best])
            while alive and (diverged := self._train(alive, at, orders)):
                lost |= diverged
                alive = self._keep(alive, [i for i in alive if i not in diverged])
            if not alive:
                break
            measured = self.mlp.evaluate(self.held_out.X, self.held_out.target, each=True)
            losses = measured["loss"]
            scores = next((v for n, v in measured.items() if n != "loss"), [-x for x in losses])
            for i, loss, score in zip(alive, losses, scores, strict=True):
                rows[i] = {"epochs": at, "score": score, "loss": loss}
        if len(lost) == len(rows):
            raise InvalidValueError(
                "search: all settings diverged; expected smaller learning rates"
            )
        ranked = sorted(rows, key=lambda i: (i in lost, _rank(rows[i])))
        return [self.settings[i] | rows[i] | {"diverged": i in lost} for i in ranked]

    def _keep(self, alive: list[int], kept: list[int]) -> list[int]:
        if kept and kept != alive:
            self.mlp = subset(self.mlp, [alive.index(i) for i in kept])
        return kept

    def _train(self, alive: list[int], until: int, order: Any) -> set[int]:
        """Train to that epoch; return the settings that diverged, and stay before it if any did."""
        mlp, e = self.mlp, self.first
        rates = PerNetwork([_rate(self.each[i], until) for i in alive])
        undo, progress = mlp.restore_point(), mlp.progress
        epochs = until - mlp.epochs_trained
        if epochs <= 0:
            return set()
        try:
            with warnings.catch_warnings():  # of a loss that ran away: its score says so
                warnings.simplefilter("ignore")
                mlp.fit(
                    self.kept.X,
                    self.kept.target,
                    epochs=epochs,
                    batch_size=self.batch,
                    optimizer=_parameters.optimizer_of(e, rates),
                    sample_weight=self.kept.weight,
                    shuffle=order,
                    metrics=False,
                    continued=progress is not None,
                )
        except DivergenceError as error:
            undo()
            mlp.progress = progress
            return {alive[i] for i in error.networks} or set(alive)
        return set()


def _rate(estimator: Any, epochs: int) -> Any:
    if isinstance(estimator.learning_rate, str):
        return float(estimator.learning_rate_init)
    return replace(estimator.learning_rate, rate=float(estimator.learning_rate_init))


def _rank(row: dict[str, Any]) -> tuple[float, ...]:
    """The order of settings: those trained for longer first, then by score and loss."""
    values = (-row["epochs"], -row["score"], row["loss"])
    return tuple(math.inf if math.isnan(v) else v for v in values)


class _Orders:
    """The orders of the epochs, drawn when they are first asked for: an epoch may be run again."""

    def __init__(self, order: Any) -> None:
        self._order, self._drawn = order, list[Any]()

    def __call__(self, epoch: int, n: int) -> Any:
        while len(self._drawn) <= epoch:
            self._drawn.append(self._order(len(self._drawn), n).astype(np.int32))
        return self._drawn[epoch]


def _split(examples: Examples, share: float, draw: Any) -> tuple[Examples, Examples]:
    """Split off the validation rows; of classes, as many of each as there are in all rows."""
    X, y, target, weight = examples
    classes = target if target.ndim == 1 and target.dtype.kind == "i" else None
    if (
        classes is not None
        and np.bincount(classes).min(initial=2, where=np.bincount(classes) > 0) < 2
    ):
        classes = None
    kept, aside = train_test_split(
        np.arange(len(y)), random_state=draw, test_size=share, stratify=classes
    )
    device = other_backend(X)

    def part(rows: np.ndarray) -> Examples:
        some = X[rows] if device is None else DeviceRows(device, X).take(rows).array
        return Examples(some, y[rows], target[rows], None if weight is None else weight[rows])

    return part(kept), part(aside)
