"""What the page may set: each value is checked, and nothing else passes."""

import doctest
from dataclasses import fields
from typing import Any

import pytest

from xpmlp.errors import InvalidValueError
from xpmlp.play import code, settings
from xpmlp.play.settings import CHECKS, CHOICES, HELP, LIMITS, Settings, installed


def test_every_setting_is_checked_and_explained() -> None:
    names = {field.name for field in fields(Settings)}
    assert names == set(CHECKS) == set(HELP)
    assert set(CHOICES) <= names
    assert set(LIMITS) <= names | {"units", "layers"}


def test_the_defaults_pass_their_own_checks() -> None:
    assert Settings.checked(Settings().as_json()) == Settings()
    assert Settings.checked({}) == Settings()


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_every_choice_passes(name: str) -> None:
    for choice in CHOICES[name]:
        assert getattr(Settings.checked({name: choice}), name) == choice


@pytest.mark.parametrize("name", sorted(set(LIMITS) - {"units", "layers"}))
def test_limits_are_kept(name: str) -> None:
    low, high = LIMITS[name]

    def given(value: float) -> Settings:
        return Settings.checked({name: [value] if name == "hidden" else value})

    given(low), given(high)
    for beyond in (low - 1, high + 1):
        with pytest.raises(InvalidValueError, match=f"{name}: found"):
            given(beyond)


@pytest.mark.parametrize(
    "given",
    [
        None, [], 5, "xor", {"unknown": 1}, {"points": True}, {"points": 100.5}, {"points": "100"},
        {"noise": float("nan")}, {"noise": float("inf")}, {"seed": 10**400}, {"hidden": 4},
        {"hidden": [4] * 7}, {"hidden": [4.5]}, {"hidden": [[4]]}, {"bias": 1}, {"bias": "false"},
        {"activation": "rellu"}, {"activation": None}, {"activation": ["relu"]}, {"data": {}},
        {"label": "x" * 201}, {"columns": ["a"] * 101}, {"columns": "a"}, {"columns": [1]},
        {"backend": "../x"}, {"epochs": None}, {"x" * 1000: 1},
    ],
)  # fmt: skip
def test_nonsense_is_one_line(given: Any) -> None:
    with pytest.raises(InvalidValueError) as error:
        Settings.checked(given)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", [settings, code])
def test_examples_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_the_page_offers_the_backends_that_are_installed() -> None:
    assert "numpy" in installed()
    assert set(installed()) <= set(CHOICES["backend"])
