"""scikit-learn's tests of its MLP, run against ours."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sklearn = pytest.importorskip("sklearn")
HERE = Path(__file__).resolve().parent

PRIVATE = {
    "test_fit": "sets the weights of an estimator that has not been fitted, by private names",
    "test_gradient": "calls _loss_grad_lbfgs; see tests/training/test_objective.py",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
}
"""Tests that read private state of scikit-learn's estimators, and what takes their place here."""


def outcomes(report: Path) -> dict[str, bool]:
    """Whether each test passed, by its name with parameters; skipped ones are left out."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {
        case.attrib["name"]: case.find("failure") is None and case.find("error") is None
        for case in cases
        if case.find("skipped") is None
    }


@pytest.mark.slow
def test_scikit_learns_own_tests_pass(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    plugin = "drop_in"
    paths = os.pathsep.join(p for p in (str(HERE), *sys.path) if p)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", plugin, f"--junitxml={report}"),
            *("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestConfigWarning"),
            *("--pyargs", "sklearn.neural_network.tests.test_mlp"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    found = outcomes(report)
    failed = {name.split("[")[0] for name, passed in found.items() if not passed}
    assert failed == PRIVATE.keys() & {name.split("[")[0] for name in found}, done.stdout[-4000:]
    if sklearn.__version__.startswith("1.9."):
        pandas = any("feature_names" in name for name in found)
        assert len(found) == (59 if pandas else 57)
        assert sum(found.values()) >= len(found) - len(PRIVATE)


@pytest.mark.slow
def test_the_plugin_takes_their_place() -> None:
    """Or the test above would be of scikit-learn's own estimators."""
    code = (
        "import drop_in\n"
        "from sklearn.neural_network.tests import test_mlp\n"
        "print(test_mlp.MLPClassifier.__module__, test_mlp.MLPRegressor.__module__)"
    )
    paths = os.pathsep.join(p for p in (str(HERE), *sys.path) if p)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["xpmlp.sklearn.classifier", "xpmlp.sklearn.regressor"]
