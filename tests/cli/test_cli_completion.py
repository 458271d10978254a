"""``xpmlp completion``: the scripts, and what bash completes with its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xpmlp.cli import main
from xpmlp.cli.options import COMMANDS

pytest.importorskip("shtab")
Capture = pytest.CaptureFixture[str]
BASH = shutil.which("bash")


def script(shell: str, capsys: Capture) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_gets_a_script_with_all_commands(shell: str, capsys: Capture) -> None:
    said = script(shell, capsys)
    assert all(command in said for command in COMMANDS)
    assert "--early-stopping" in said or shell == "tcsh"


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected", "others"),
    [
        (["tr"], {"train"}, {"predict"}),
        (["train", "--ea"], {"--early-stopping"}, {"--epochs"}),
        (["train", "--dtype", "float"], {"float32", "float64"}, {"bf16"}),
        (["train", "--config", "my"], {"my.toml"}, {"other"}),
        (["evaluate", "my"], {"my.toml"}, {"--json"}),
    ],
)
def test_bash_completes(
    words: list[str], expected: set[str], others: set[str], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "my.toml").touch()
    (tmp_path / "other").touch()
    (tmp_path / "completion").write_text(script("bash", capsys))
    asked = " ".join(["xpmlp", *words])
    code = f"""
        compopt() {{ :; }}  # it is for a shell that somebody types into
        source completion
        COMP_WORDS=({asked}); COMP_CWORD={len(words)}; COMP_LINE='{asked}'; COMP_POINT={len(asked)}
        _shtab_xpmlp
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [str(BASH), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = set(done.stdout.split())
    assert expected <= found, done.stderr
    assert not others & found


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "xpmlp completion needs shtab" in capsys.readouterr().err


def test_another_shell_is_refused(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "bush"])
    assert "did you mean bash?" in capsys.readouterr().err
