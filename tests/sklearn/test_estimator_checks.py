"""scikit-learn's checks of estimators, with those of the ``array_api_support`` tag."""

from typing import Any

import pytest
from xpmlp_backends import why_not

pytest.importorskip("sklearn")
import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpmlp.sklearn import MLPClassifier, MLPRegressor

VERSION = tuple(map(int, sklearn.__version__.split(".")[:2]))
ESTIMATORS = [
    MLPClassifier(),
    MLPRegressor(),
    MLPClassifier(solver="lbfgs", max_iter=50),
    MLPRegressor(solver="lbfgs", max_iter=50),
]


def asks_for(check: Any, *words: str) -> bool:
    """Whether a check is of a library or device of these names."""
    return any(word in str(getattr(check, "keywords", {})) for word in words)


def strictly(estimators: list[Any]) -> Any:
    """An expected failure that does not happen is a failure, where this scikit-learn can say so."""
    try:
        made = parametrize_with_checks(estimators, xfail_strict=True)
    except TypeError:
        made = parametrize_with_checks(estimators)
    names, cases = made.args
    return pytest.mark.parametrize(names, [marked(case) for case in cases], **made.kwargs)


def marked(case: Any) -> Any:
    """What needs a GPU is part of the GPU suite."""
    on_gpu = isinstance(case, tuple) and asks_for(case[-1], "cupy", "cuda")
    return pytest.param(*case, marks=pytest.mark.gpu) if on_gpu else case


# Some of the checks have inputs with a mean of 100.
@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
@strictly(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.sampled(19)
def test_check(estimator: Any, check: Any) -> None:
    if "array_api" in str(check) and VERSION < (1, 9):
        pytest.skip("scikit-learn before 1.9 wants classes_ to be where X is")
    if asks_for(check, "cupy") and (reason := why_not("cupy")):
        pytest.skip(f"CuPy is installed, and cannot be used: {reason}")
    check(estimator)


def test_there_are_as_many_as_scikit_learns_own_pass() -> None:
    """67 and 60 in 1.9, and those of the array API tag beside them."""
    from sklearn.neural_network import MLPClassifier as Classifier
    from sklearn.neural_network import MLPRegressor as Regressor
    from sklearn.utils.estimator_checks import estimator_checks_generator

    for ours, theirs, count in ((MLPClassifier, Classifier, 67), (MLPRegressor, Regressor, 60)):
        names = [
            sorted(
                {
                    str(getattr(check, "func", check).__name__)
                    for _, check in estimator_checks_generator(cls(), mark=None)
                }
            )
            for cls in (ours, theirs)
        ]
        assert set(names[1]) <= set(names[0])
        assert "check_array_api_input" in names[0]
        if sklearn.__version__.startswith("1.9."):
            assert len(list(estimator_checks_generator(theirs(), mark=None))) == count
