"""Weights of rows by their classes: the rule of ``MLP.fit`` and of the estimators."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpmlp.errors import InvalidTypeError, InvalidValueError

ClassWeight = str | Mapping[int, float] | Sequence[Mapping[int, float]]
"""``"balanced"``, the weight of each class, or those of each label."""


def class_weights(class_weight: Any, y: np.ndarray) -> np.ndarray:
    """Return the weight of each row: that of its class; of several labels, the product.

    "balanced" gives a class the weight n/(classes · rows of it), so that all count alike (King and
    Zeng 2001). A class that a dict does not have weighs 1. It is scikit-learn's rule.

    Parameters
    ----------
    class_weight : "balanced", dict of class to float, or a list of one for each label
    y : ndarray, shape (n,) or (n, labels)
        Class indices or names; for several labels 0 and 1.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything else, a negative weight, and a class that y does not have while another has no
        weight: then a key is misspelled.

    Examples
    --------
    >>> from xpmlp.model.class_weight import class_weights
    >>> class_weights("balanced", np.array([0, 0, 0, 1]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    >>> class_weights({1: 5.0}, np.array([0, 1]))
    array([1., 5.])
    """
    columns = y.reshape(len(y), -1).T
    several = isinstance(class_weight, list | tuple)
    rules = list(class_weight) if several else [class_weight] * len(columns)
    if several != (y.ndim == 2) and not isinstance(class_weight, str):
        expected = "a list of a dict for each label" if y.ndim == 2 else "a dict"
        raise InvalidTypeError(f"class_weight: found {class_weight!r}; expected {expected}")
    if len(rules) != len(columns):
        raise InvalidValueError(
            f"class_weight: found {len(rules)} dicts for {len(columns)} labels; expected one each"
        )
    made = np.ones(len(y))
    for rule, column in zip(rules, columns, strict=True):
        made *= _of_column(rule, column)
    return made


def _of_column(rule: Any, y: np.ndarray) -> np.ndarray:
    classes, place, count = np.unique(y, return_inverse=True, return_counts=True)
    if isinstance(rule, str) and rule == "balanced":
        return (len(y) / (len(classes) * count))[place]
    if not isinstance(rule, Mapping):
        raise InvalidTypeError(
            f"class_weight: found {rule!r}; expected 'balanced' or a dict: {{0: 1.0, 1: 5.0}}"
        )
    names = classes.tolist()
    unknown, without = [c for c in rule if c not in names], [c for c in names if c not in rule]
    if unknown and without:
        raise InvalidValueError(
            f"class_weight: found the class {unknown[0]!r}, which y does not have; its class "
            f"{without[0]!r} has no weight"
        )
    weights = np.array([float(rule.get(name, 1.0)) for name in names])
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InvalidValueError(
            f"class_weight: found {dict(rule)!r}; expected finite numbers, none negative"
        )
    return weights[place]
