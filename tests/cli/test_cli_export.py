"""``xpmlp export``: files by their suffix."""

import runpy
from pathlib import Path

import pytest

import xpmlp
from xpmlp.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    data = xpmlp.data.load("xor")
    mlp = xpmlp.MLP([2, 5, 2], "tanh", backend="numpy", seed=0)
    mlp.fit(data.X, data.y, epochs=1)
    mlp.metadata = {"classes": ["same", "other"]}
    mlp.save(tmp_path / "model.xpmlp")
    return tmp_path / "model.xpmlp"


def test_python_and_c(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(model), str(tmp_path / "xor.py")]) == 0
    assert capsys.readouterr().out == f"model in {tmp_path / 'xor.py'}, as Python\n"
    found = runpy.run_path(str(tmp_path / "xor.py"))["predict"]([[0.3, 0.4]])
    assert found[0] in ("same", "other")
    assert main(["export", str(model), str(tmp_path / "xor.H"), "--name", "net"]) == 0
    assert "net_predict(" in (tmp_path / "xor.H").read_text()


def test_onnx(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ndonnx", reason="ndonnx is not installed: pip install 'xpmlp[onnx]'")
    assert main(["export", str(model), str(tmp_path / "xor.onnx")]) == 0
    assert (tmp_path / "xor.onnx").stat().st_size > 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.txt"], "expected a name that ends in .onnx, .py, .h"),
        (["model.py", "--name", "x"], "only C has such names"),
    ],
)
def test_what_cannot_be_written(
    model: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(model), *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_missing_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none.xpmlp"), "model.h"]) == 2
    assert "none.xpmlp" in capsys.readouterr().err
