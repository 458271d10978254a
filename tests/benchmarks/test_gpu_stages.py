"""What ``scripts/gpu`` runs, without a GPU: its stages, and the checks of the first one."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import make_backend
from emulation import emulated

from benchmarks.contestants import without_numba
from benchmarks.gpu import correct, installed

ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the script is for Linux")


# The script


def gpu(folder: Path, *arguments: str, python: str | None = None) -> Any:
    """Run the script; by default with an interpreter that says what it is called with."""
    program = folder / "python"
    if python is None:
        program.write_text(
            '#!/bin/sh\necho "$PYTHONPATH: $*"; case "$*" in *$BROKEN*) exit 3; esac\n'
        )
        program.chmod(0o755)
    return subprocess.run(
        [str(ROOT / "scripts" / "gpu"), "--out", "out", *arguments],
        cwd=folder,
        env={"BROKEN": "nothing"} | os.environ | {"PYTHON": python or str(program)},
        capture_output=True,
        text=True,
        check=False,
    )


STARTED = {
    "a": ("-m benchmarks.gpu.correct",),
    "b": ("-m benchmarks gpu --only steps",),
    "c": ("-m benchmarks gpu --only mnist",),
    "suite": ("-m pytest -m gpu", "test_gpu.py"),
}


@linux
@pytest.mark.parametrize("stages", [(), ("a",), ("c", "b"), ("suite",)])
def test_stages_run_alone_or_in_order_and_keep_their_logs(
    tmp_path: Path, stages: tuple[str, ...]
) -> None:
    done = gpu(tmp_path, *stages)
    assert done.returncode == 0
    wanted = stages or ("a", "b", "c")
    logs = {path.stem.rpartition("-")[2]: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert done.stdout == "".join(logs[name] for name in wanted)
    assert set(logs) == set(wanted)
    for name, log in logs.items():
        assert f"{ROOT}:{ROOT / 'backends'}" in log
        for each in ("-m benchmarks.gpu.installed", *STARTED[name]):
            assert each in log
        if name in "bc":
            assert f"--out {tmp_path / 'out'}" in log


@linux
@pytest.mark.parametrize(
    ("broken", "ran"), [("correct", "a"), ("steps", "ab"), ("mnist", "abc"), ("installed", "a")]
)
def test_the_first_stage_that_fails_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, ran: str
) -> None:
    monkeypatch.setenv("BROKEN", broken)
    done = gpu(tmp_path)
    assert done.returncode == 1
    assert [path.stem[-1] for path in sorted((tmp_path / "out").iterdir())] == list(ran)
    assert f"# stage {ran[-1]}: status {1 if broken == 'installed' else 3} after" in done.stdout


@linux
@pytest.mark.parametrize("wrong", [["d"], ["--quick"], ["--out"], ["a", ""]])
def test_a_wrong_argument_is_said_in_a_line(tmp_path: Path, wrong: list[str]) -> None:
    done = gpu(tmp_path, *wrong)
    assert done.returncode == 2
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.endswith("expected stages of a, b, c, suite, or --out FOLDER")
    assert not (tmp_path / "out").exists()


@linux
def test_without_a_gpu_a_line_says_what_is_missing(tmp_path: Path) -> None:
    if installed.why_not() is None:
        pytest.skip("there is a GPU here")
    done = gpu(tmp_path, python=sys.executable)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert f"nothing can run on a GPU here: {installed.why_not()}" == lines[-2]
    assert sum(line.startswith("# stage") for line in lines) == 2


# What is installed


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "PACKAGES", {"NumPy": ("numpy",), "CuPy": ("no-such-package",)})
    there, missing = installed.lines()[-2:]
    assert "NumPy" in there
    assert missing == "missing: CuPy"


def test_modules_without_which_nothing_runs_are_looked_for_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installed, "NEEDED", ("sys", "no_such_module"))
    assert installed.main() == 1
    expected = "nothing can run on a GPU here: no_such_module cannot be imported"
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_a_gpu_and_its_libraries_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = SimpleNamespace(
        getDeviceProperties=lambda number: {"name": b"NVIDIA H200"},
        runtimeGetVersion=lambda: 13000,
        driverGetVersion=lambda: 13010,
    )
    modules = {
        "cupy": SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)),
        "xpmlp_backends": SimpleNamespace(why_not=lambda name: None),
        "xpmlp_backends.cupy.backend": SimpleNamespace(cublaslt=lambda: "it cannot be used"),
    }
    monkeypatch.setattr(installed, "import_module", modules.__getitem__)
    assert installed.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "CuPy finds NVIDIA H200; CUDA 13000, of the driver 13010; cuBLASLt: it cannot be used"
    )


# The checks


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correct, "SIZES", (784, 12, 10, 10))
    monkeypatch.setattr(correct, "ROWS", 100)


@pytest.fixture
def made() -> Any:
    """Makes the emulated backend, to capture or not."""
    make_backend("cupy-emulated")  # or a skip
    return {way: emulated.backend(capture=way) for way in (True, False)}.__getitem__


def test_the_checks_end_at_once_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp_backends.cupy.backend.why_not", lambda: "no GPU")
    assert str(correct.main()).startswith("backend 'cupy': no GPU.")


def test_what_failed_is_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp_backends.cupy.backend.create", lambda device, capture: None)
    for failed, said in ((["a", "b"], "failed: a, b"), ([], None)):
        monkeypatch.setattr(correct, "run", lambda make, checks, failed=failed: failed)
        assert correct.main() == said


@pytest.mark.parametrize(
    "name", ["operations", "capture", pytest.param("training", marks=pytest.mark.slow)]
)
def test_checks_pass_on_the_emulated_device(small: None, made: Any, name: str) -> None:
    assert correct.run(made, {name: correct.CHECKS[name]}) == []


def test_an_operation_that_is_wrong_is_named(made: Any, capsys: Any) -> None:
    ops = made(True).ops
    object.__setattr__(
        made(True), "ops", ops.__class__(**vars(ops) | {"sgd": lambda p, g, rate: p})
    )
    assert correct.run(made, {"operations": correct.operations, "second": lambda _: "ran"}) == [
        "operations"
    ]
    first, second = capsys.readouterr().out.splitlines()
    assert "FAILED: AssertionError: sgd, float32: off by 0.0" in first
    assert second.endswith("ran")


def test_steps_that_are_not_captured_are_a_failure(small: None, made: Any) -> None:
    with pytest.raises(AssertionError, match="eager"):
        correct.capture(lambda _: made(False))


def test_numbers_that_differ_or_are_none_are_a_failure() -> None:
    correct.agree("x", [1.0, 0.0], [1.0, 0.0], 0.0)
    for wrong in ([1.1, 0.0], [float("nan"), 0.0], [1.0]):
        with pytest.raises(AssertionError, match=r"^x: "):
            correct.agree("x", wrong, [1.0, 0.0], 0.01)


class OnStreams:
    """NumPy's backend, with streams."""

    def __new__(cls, broken: bool = False) -> Any:
        backend = without_numba()
        stream: Any = (
            (lambda non_blocking: 1 / 0) if broken else (lambda non_blocking: nullcontext())
        )
        backend.cupy = SimpleNamespace(cuda=SimpleNamespace(Stream=stream))
        return backend


def test_threads_train_as_one_does(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correct, "captured", lambda _: None)
    assert correct.threads(lambda _: OnStreams()) == "two threads train as one does"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_with_an_error_is_a_failure(small: None) -> None:
    with pytest.raises(AssertionError, match="a thread ended with an error"):
        correct.threads(lambda _: OnStreams(broken=True))


@pytest.mark.parametrize("name", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_other_libraries_train_or_are_left_out(
    small: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setattr(correct, "captured", lambda _: None)
    assert correct.other(name, "cpu", lambda _: None) == f"a training by {name} is NumPy's"
    assert correct.other(name, "nowhere", lambda _: None).startswith("left out: backend")
