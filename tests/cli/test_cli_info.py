"""``xpmlp info``, with and without ``--measure``: what it says, not how long things take."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import xpmlp_backends
from xpmlp_backends.numpy.backend import NumpyBackend

from xpmlp.cli import benchmark, info, libraries, machine, main, measure
from xpmlp.cli.output import Output
from xpmlp.nn.contract import Memory

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_for_people(capsys: Capture) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split()[0] for line in lines if line[:1].strip()]
    rows = {
        "xpmlp",
        "system",
        "CPU",
        "BLAS",
        "numba",
        "numpy",
        "cupy",
        "torch",
        "jax",
        "dpnp",
        "auto",
        "workers",
    }
    assert rows <= set(heads)


def test_for_scripts(capsys: Capture) -> None:
    assert main(["info", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["numpy"]["works"]
    assert found["auto"]["backend"] in ("numpy", "cupy", "dpnp")
    assert found["backends"]["cupy"]["works"] == (found["auto"]["backend"] == "cupy")
    assert 1 <= found["cpus"] <= found["cpus_in_machine"]


def test_workers_are_listed(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(info, "installed", lambda *names: None)
    rows = dict(info._rows(info._base() | {"backends": {}, "advice": []} | info._rest()))
    assert rows["workers"] == "no engine is installed; pip install 'xpmlp[mpi]'"
    monkeypatch.setattr(info, "installed", lambda *names: "4.1" if names[0] == "mpi4py" else None)
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv("PMI_RANK", "0")
    rows = dict(info._rows(info._base() | {"backends": {}, "advice": []} | info._rest()))
    assert rows["workers"] == "mpi: mpi4py 4.1; mpiexec has started 3 here"


def test_a_gpu_is_listed_with_its_name_and_memory(capsys: Capture, monkeypatch: Patch) -> None:
    class Gpu(NumpyBackend):
        capabilities = frozenset({"gpu", "float64", "mutable"})

        def memory(self) -> Memory:
            return Memory(2**30, 138 * 2**30, 139 * 2**30)

        def device_name(self) -> str:
            return "NVIDIA Fake 100"

    monkeypatch.setattr(libraries, "why_not", lambda name: None)
    monkeypatch.setattr(libraries, "backend", lambda name: Gpu(fused=False))
    assert main(["info"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "on cpu, NVIDIA Fake 100, 138.0 GiB of 139.0 GiB memory free" in said
    assert main(["info", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["backends"]["torch"]
    assert found["gpu"] == "NVIDIA Fake 100"
    assert found["memory"] == {"used": 2**30, "free": 138 * 2**30, "total": 139 * 2**30}


def test_a_cpu_is_listed_without() -> None:
    found = libraries.look("numpy")
    assert (found["gpu"], found["memory"]) == (None, None)
    assert libraries.where(found) == f"{found['version']} on cpu"


def test_limits_that_are_set_are_shown(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(info, "look", lambda name: libraries.look("numpy"))
    for name in machine.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    main(["info"])
    assert "\nvariables " not in capsys.readouterr().out
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    main(["info"])
    assert "variables OMP_NUM_THREADS=3, NUMBA_NUM_THREADS=2\n" in capsys.readouterr().out


def test_says_how_to_get_what_is_missing(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(libraries, "why_not", lambda name: f"pip install 'xpmlp[{name}]'")
    for module in (info, libraries):
        monkeypatch.setattr(module, "installed", lambda *packages: None)
    assert main(["info"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "pip install 'xpmlp[torch]'" in said
    assert "pip install 'xpmlp[fast]'" in said
    assert "matplotlib (pictures)" in said


@pytest.mark.parametrize(
    ("core", "variable", "best", "advice"),
    [
        ("Haswell", None, "SkylakeX", "leaves this CPU's AVX-512 unused"),
        ("Haswell", "Haswell", "SkylakeX", "leaves this CPU's AVX-512 unused"),
        ("Haswell", None, None, "leaves this CPU's AVX-512 unused"),
        ("SkylakeX", None, "SkylakeX", None),
        ("SkylakeX", "SkylakeX", "SkylakeX", None),
        (None, None, "SkylakeX", "may leave this CPU's AVX-512 unused"),
        (None, None, None, None),
        (None, "SkylakeX", "SkylakeX", None),
        ("SkylakeX", None, "Haswell", "uses 512-bit kernels"),
        ("SkylakeX", "SkylakeX", "Haswell", "uses 512-bit kernels"),
        ("Haswell", None, "Haswell", None),
        (None, None, "Haswell", None),
    ],
)
def test_advice_on_kernels(
    core: str | None,
    variable: str | None,
    best: str | None,
    advice: str | None,
    monkeypatch: Patch,
) -> None:
    monkeypatch.setattr(machine, "best_core", lambda: best)
    monkeypatch.setattr(machine, "cpu", lambda: ("", machine.AVX512))
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if variable:
        monkeypatch.setenv("OPENBLAS_CORETYPE", variable)
    said = machine.core_advice({"name": "openblas", "core": core})
    if advice is None:
        assert said is None
    else:
        assert said is not None
        assert f"OpenBLAS {advice}" in said
        assert f"Set OPENBLAS_CORETYPE={best or 'SkylakeX'}" in said
        assert ("does this itself" in said) == (best is not None and variable is None)


def test_no_advice_on_the_kernels_of_another_library(monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "best_core", lambda: "SkylakeX")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert machine.core_advice({"name": "accelerate", "core": None}) is None


# Measurements

SMALL = ["--sizes", "4", "8", "3", "--batch-size", "16"]


@pytest.fixture
def quick(monkeypatch: Patch) -> None:
    """Short turns, and two backends of which one does not work."""
    monkeypatch.setattr(benchmark, "SECONDS", 0.02)
    monkeypatch.setattr(benchmark, "TURN", 0.005)
    monkeypatch.setattr(benchmark, "PUBLIC", ("numpy", "torch"))
    refused = {"version": None, "works": False, "device": None, "why_not": "it is not there"}
    works = {"version": "2", "works": True, "device": "cpu", "why_not": None}
    monkeypatch.setattr(benchmark, "look", lambda name: works if name == "numpy" else refused)


@pytest.mark.usefixtures("quick")
def test_measure_for_people(capsys: Capture) -> None:
    assert main(["info", "--measure", *SMALL, "--dropout", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("measured  4-8-3, dropout 0.1, batch 16") for line in lines)
    row = next(line for line in lines if line.startswith("numpy")).split()
    assert row[1] == "cpu"
    assert row[5] == "1.00"
    assert "torch     no: it is not there" in lines
    assert lines[-1].endswith("Use numpy (--backend numpy): nothing else works here.")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["-", "found.json"])
def test_measure_for_scripts(
    where: str, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["info", "--measure", *SMALL, "--json", where]) == 0
    text = capsys.readouterr().out if where == "-" else Path(where).read_text()
    found = json.loads(text)["measured"]
    assert (found["sizes"], found["batch_size"], found["dropout"]) == ([4, 8, 3], 16, 0.2)
    assert [one["backend"] for one in found["backends"]] == ["numpy"]
    assert found["backends"][0]["seconds_per_step"] > 0
    assert found["refused"] == {"torch": "no: it is not there"}
    assert found["use"]["backend"] == "numpy"


def test_every_backend_that_works_trains_the_same_network(monkeypatch: Patch) -> None:
    monkeypatch.setattr(benchmark, "SECONDS", 0.02)
    monkeypatch.setattr(benchmark, "TURN", 0.005)
    found, refused = benchmark.time_all([4, 8, 1], 16, 0.0)  # one output: values
    assert found[0].backend == "numpy"
    assert {one.backend for one in found} | set(refused) == set(xpmlp_backends.PUBLIC)
    for one in found:
        assert one.mlp.sizes == (4, 8, 1)
        assert one.mlp.epochs_trained >= len(one.times) > 0
        assert one.startup > 0


@pytest.mark.parametrize(
    ("name", "gpu", "expected"),
    [
        ("torch", True, [None, "cpu"]),
        ("jax", True, [None, "cpu"]),
        ("torch", False, [None]),
        ("cupy", True, [None]),
    ],
)
def test_with_a_gpu_the_cpu_is_measured_too(
    name: str, gpu: bool, expected: list[str | None], monkeypatch: Patch
) -> None:
    made = SimpleNamespace(capabilities={"gpu"} if gpu else set())
    monkeypatch.setattr(benchmark, "backend", lambda name: made)
    assert benchmark.devices(name) == expected


def test_a_backend_that_fails_is_listed_and_the_others_measured(monkeypatch: Patch) -> None:
    class Full(NumpyBackend):
        def compile(self, step: Any) -> Any:
            raise RuntimeError("the device is full")

    works = {"version": "2", "works": True, "device": "cpu", "why_not": None}
    monkeypatch.setattr(benchmark, "SECONDS", 0.01)
    monkeypatch.setattr(benchmark, "PUBLIC", ("numpy", "other"))
    monkeypatch.setattr(benchmark, "look", lambda name: works)
    real = xpmlp_backends.backend
    monkeypatch.setattr(benchmark, "backend", real_or(Full(), real))
    monkeypatch.setattr(xpmlp_backends, "backend", real_or(Full(), real))
    found, refused = benchmark.time_all([4, 8, 3], 16, 0.2)
    assert [one.backend for one in found] == ["numpy"]
    assert refused == {"other": "no: RuntimeError: the device is full"}


def real_or(other: Any, real: Any) -> Any:
    return lambda spec, device=None: other if spec == "other" else real(spec, device)


@pytest.mark.parametrize("load", [0.1, 9.0])
def test_says_that_the_machine_is_busy(load: float, monkeypatch: Patch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(measure, "usable_cpus", lambda: 2)
    assert (measure.busy() is not None) == (load > 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--measure", "--sizes", "784"], "at least two whole numbers"),
        (["--measure", "--sizes", "4", "0", "3"], "at least two whole numbers"),
        (["--measure", "--batch-size", "0"], "--batch-size: found 0"),
        (["--measure", "--dropout", "1.5"], "dropout: found 1.5"),
        (["--sizes", "4", "3"], "--sizes: only with --measure"),
        (["--batch-size", "4"], "--batch-size: only with --measure"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(["info", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("xpmlp: error: ")
    assert said.err.count("\n") == 1
    assert message in said.err


def test_ctrl_c_is_one_line(capsys: Capture, monkeypatch: Patch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "time_all", interrupt)
    assert main(["info", "--measure"]) == 130
    assert capsys.readouterr().err == "xpmlp: interrupted\n"


# The choice


def candidate(backend: str, seconds: float, startup: float = 0.0, asked: str | None = None) -> Any:
    class Named(benchmark.Candidate):
        device = "somewhere"

    mlp: Any = None
    return Named(backend, asked, mlp, None, 1, startup, [seconds, 0.9 * seconds, 2 * seconds])


@pytest.mark.parametrize(
    ("others", "chosen", "why"),
    [
        ([], "numpy", "nothing else works here"),
        ([("torch", 2.0, 1.0)], "numpy", "it is the fastest"),
        ([("torch", 0.95, 1.0)], "numpy", "within 10 % of the fastest, torch"),
        ([("torch", 0.5, 3.0)], "torch", "2.0 times as fast as NumPy's. It starts 2.0 s later"),
        ([("torch", 0.5, 3.0)], "torch", "pays off after 4 steps; a shorter training run"),
        ([("torch", 0.5, 0.5)], "torch", "2.0 times as fast as NumPy's."),
        ([("cupy", 0.1, 2.0), ("torch", 0.098, 9.0)], "cupy", "10.0 times as fast"),
        ([("jax", 0.9, 2.0), ("jax", 0.5, 2.0, "cpu")], "jax", "(--backend jax --device cpu)"),
    ],
)
def test_the_choice_and_its_reason(others: list[Any], chosen: str, why: str) -> None:
    use = measure.choose([candidate("numpy", 1.0, 1.0), *(candidate(*one) for one in others)])
    assert use["backend"] == chosen
    assert why in use["because"]


def test_unsteady_times_are_named() -> None:
    steady, other = candidate("numpy", 1.0), candidate("jax", 1.0)
    assert not list(measure.unsteady([steady, other]))
    other.times = [0.1, 1.0, 1.0]
    (said,) = measure.unsteady([steady, other])
    assert said.startswith("The times of jax vary")


def test_the_table_fits_any_figures(capsys: Capture) -> None:
    found = [candidate("numpy", 123.456, 99.0), candidate("torch", 2e-6, 12.3)]
    for line in measure.table(found, 100_000):
        Output().say(line)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "123,456,000" in lines[1]
