"""Arguments, help and one-line errors, without any command being run."""

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xpmlp
from xpmlp.cli import defaults, environment, main, options, output, parser
from xpmlp.cli.examples import EXAMPLES
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[2]


def python(*args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )


def test_import_loads_nothing_heavy() -> None:
    run = python("-c", "import sys, xpmlp; print(*{m.split('.')[0] for m in sys.modules})")
    loaded = set(run.stdout.split())
    assert "xpmlp" in loaded
    assert not loaded & {
        *("numpy", "array_api_compat", "safetensors", "numba", "torch", "jax", "cupy"),
        *("rich", "matplotlib", "sklearn", "pooch", "PIL", "xpmlp_backends"),
    }


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom xpmlp.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    run = python("-c", code)
    loaded = set(run.stderr.split())
    assert "argparse" in loaded
    assert not loaded & {"numpy", "torch", "jax", "cupy", "rich", "matplotlib", "safetensors"}
    assert "default: 20; xor 60" in " ".join(run.stdout.split())


def test_module_and_version() -> None:
    run = python("-m", "xpmlp", "--version")
    assert (run.returncode, run.stdout) == (0, f"xpmlp {xpmlp.__version__}\n")


def test_help_names_exist() -> None:
    assert set(options.ACTIVATIONS.split(", ")) <= set(ACTIVATIONS)
    assert set(options.OPTIMIZERS.split(", ")) == set(OPTIMIZERS)


def test_without_arguments_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main([])
    assert not status.value.code
    assert "examples:\n  xpmlp train digits\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", EXAMPLES)
def test_three_examples_fit_50_columns_and_parse(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    said = capsys.readouterr().out
    examples = said.partition("examples:\n")[2].splitlines()
    assert [line.strip() for line in examples] == list(EXAMPLES[command])
    assert len(examples) == 3
    assert max(map(len, said.splitlines())) <= 50
    for example in examples:
        assert parser.parse(example.split()[1:]).command in example


def test_a_narrow_terminal_breaks_lines_at_words_and_a_file_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    line = "xpmlp: error: " + "words of a message, " * 5
    stream = io.StringIO()
    assert output.wrapped(line, stream) == line
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    lines = output.wrapped(line, stream).splitlines()
    assert max(map(len, lines)) <= 50
    assert " ".join(" ".join(lines).split()) == line.strip()


def test_help_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in options.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("argv", "rows", "expected"),
    [
        (["train"], 1438, ([512, 512], 20, 64, 2e-3, 0.2)),
        (["train", "mnist"], 60_000, ([512, 512], 20, 128, 1e-3, 0.2)),
        (["train", "own.csv", "--lr", "0.1"], 60_000, ([512, 512], 20, 128, 0.1, 0.2)),
        (["train", "own.csv"], 1000, ([64, 64], 64, 32, 1e-3, 0.2)),
        (["train", "own.csv", "--batch-size", "8"], 100, ([64, 64], 160, 8, 1e-3, 0.2)),
        (["train", "own.csv"], 10, ([64, 64], 200, 32, 1e-3, 0.2)),
        (["train", "xor"], 300, ([10], 60, 8, 1e-2, 0.0)),
        (["train", "xor", "--hidden", "--epochs", "3"], 300, ([], 3, 8, 1e-2, 0.0)),
    ],
)
def test_defaults_follow_the_data(argv: list[str], rows: int, expected: tuple[object, ...]) -> None:
    args = parser.parse(argv)
    defaults.fill_in(args, rows)
    assert (args.hidden, args.epochs, args.batch_size, args.lr, args.dropout) == expected


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["trian"], "did you mean train?"),
        (["train", "--epoch", "3"], "did you mean --epochs?"),
        (["train", "--dtype", "float23"], "did you mean float32?"),
        (["train", "--hidden", "512", "mnist"], "the data come first"),
        (["evaluate", "model"], "required: DATA"),
    ],
)
def test_wrong_arguments_are_one_line_with_a_hint(
    argv: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert hint in said.err


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--resume", "~no.body"],
        ["train", "xor", "--out", "~no.body/run"],
        ["train", "~no.body/data.csv"],
        ["train", "mnist", "--data-dir", "~no.body"],
        ["evaluate", "~no.body/run", "xor"],
        ["xor", "--out", "~no.body"],
        ["pictures", "--out", "~no.body"],
    ],
)
def test_a_home_folder_that_nobody_has_is_one_line(
    argv: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "~no.body" in error
    assert "there is no home folder of that name" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def cpuinfo(vendor: str, flags: str, family: int = 26) -> str:
    return (
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu {flags}\n"
        "\nprocessor\t: 1\n"
    )


ALL = "avx512f avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (cpuinfo("AuthenticAMD", ALL), "SkylakeX"),
        (cpuinfo("AuthenticAMD", ALL, 25), "Haswell"),
        (cpuinfo("SomeoneNew", ALL, 25), "SkylakeX"),
        (cpuinfo("AuthenticAMD", "avx2 avx512f"), None),
        (cpuinfo("AuthenticAMD", "avx2", 25), None),
        (cpuinfo("GenuineIntel", ALL), None),
        ("Processor : ARM\nFeatures : neon\n", None),
        ("", None),
    ],
)
def test_kernels_for_cpus_that_openblas_may_misjudge(text: str, wanted: str | None) -> None:
    assert environment.best_core(text) == wanted


def test_processor_tells_the_first_ones_fields() -> None:
    text = "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n"
    assert environment.processor(text) == {"processor": "0", "model name": "AMD EPYC"}


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [
        (["train"], None, "SkylakeX"),
        (["train"], "Zen", "Zen"),
        (["info", "--measure"], None, "SkylakeX"),
        (["info"], None, None),  # it shows what a Python program gets
    ],
)
def test_core_type_is_set_once_and_never_overrides(
    command: list[str], before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "best_core", lambda: "SkylakeX")
    monkeypatch.setenv("OPENBLAS_CORETYPE", before or "")
    if before is None:
        monkeypatch.delenv("OPENBLAS_CORETYPE")
    monkeypatch.delitem(sys.modules, "numpy")
    environment.prepare(parser.parse(command))
    assert os.environ.get("OPENBLAS_CORETYPE") == after


@pytest.mark.parametrize(
    ("argv", "variable"),
    [
        (["train", "--backend", "jax", "--dtype", "float64"], "1"),
        (["train", "--backend", "jax"], None),
        (["train", "--dtype", "float64"], None),
        (["evaluate", "m", "digits", "--backend", "jax"], "1"),
    ],
)
def test_jax_gets_64_bits_where_they_may_be_needed(
    argv: list[str], variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    monkeypatch.setenv("JAX_ENABLE_X64", "")
    monkeypatch.delenv("JAX_ENABLE_X64")
    environment.prepare(parser.parse(argv))
    assert os.environ.get("JAX_ENABLE_X64") == variable


@pytest.mark.parametrize("argv", [["train", "--out=--"], ["info", "--sizes=--"]])
def test_an_option_with_nothing_but_dashes(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = argparse.ArgumentParser()
    plain.add_argument("--out")
    if plain.parse_args(["--out=--"]).out == "--":
        pytest.skip("in this version of Python it is a value like any other")
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert f"argument {argv[1].partition('=')[0]}: expected" in capsys.readouterr().err
