"""Real processes under mpiexec: the same bits on any number of them, refusals, kills."""

import json
import os
import random
import re
import signal
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from parallel.launching import LIMIT, SCRIPT, alone, run, started, xpmlp

from xpmlp.storage.tensorfile import read

ON_EACH = {"torch": 1e-4, "jax": 1e-4}


def trained(size: int, folder: Path, **how: object) -> tuple[dict, np.ndarray]:
    """What the script finds on so many workers, the same on each."""
    out = folder / f"{size}-{len(list(folder.iterdir()))}"
    if size:
        run(size, str(SCRIPT), str(out), json.dumps(how))
    else:
        alone(str(SCRIPT), str(out), json.dumps(how))
    found = [json.loads(Path(f"{out}-{r}.json").read_text()) for r in range(max(size, 1))]
    assert all(one == found[0] for one in found)
    assert found[0].pop("size") == max(size, 1)
    return found[0], np.load(f"{out}-0.npy")


def test_two_workers_have_the_bits_of_one_without_mpi(tmp_path):
    assert trained(2, tmp_path)[0] == trained(0, tmp_path)[0]


@pytest.mark.slow
def test_three_four_and_eight_workers_too(tmp_path, request):
    """--full: in CI three; other tests have two and four."""
    expected = trained(0, tmp_path)[0]
    for size in (1, 3, 4, 8) if request.config.getoption("--full") else (3,):
        assert trained(size, tmp_path)[0] == expected


@pytest.mark.slow
@pytest.mark.parametrize("backend", ON_EACH)
def test_other_libraries_agree_up_to_rounding(tmp_path, backend, request):
    pytest.importorskip(backend)
    expected = trained(0, tmp_path, backend=backend, epochs=2)[1]
    for size in (2, 4) if request.config.getoption("--full") else (2,):
        found = trained(size, tmp_path, backend=backend, epochs=2)[1]
        np.testing.assert_allclose(found, expected, rtol=0, atol=ON_EACH[backend])


@pytest.mark.slow
def test_the_engines_own_sum(tmp_path):
    expected = trained(0, tmp_path)[1]
    found = trained(4, tmp_path, reduction="engine")[1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_stopped_on_four_resumed_on_two_then_on_one(tmp_path):
    expected = trained(0, tmp_path, epochs=6)[0]
    kept = {"epochs": 6, "checkpoints": str(tmp_path / "run"), "resume": True}
    for size, stop in ((4, 2), (2, 4)):
        run(size, str(SCRIPT), str(tmp_path / "x"), json.dumps(kept | {"stop": stop}), status=None)
        assert (tmp_path / "run" / "best.xpmlp").exists()
    assert trained(0, tmp_path, **kept)[0] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"other_seed_on": 1}, r"WorkerError: worker 1 has other seed: found \[5\]"),
        ({"other_data_on": 2}, "WorkerError: worker 2 has other settings: data"),
        ({"fails_on": 1}, "OSError: the disk is full"),
    ],
)
def test_a_worker_that_differs_or_fails_ends_all(tmp_path, how, said):
    _, err = run(3, str(SCRIPT), str(tmp_path / "x"), json.dumps(how), status=None)
    assert re.search(said, err), err
    assert not list(tmp_path.glob("x-*.json"))


@pytest.mark.slow
def test_torchrun_starts_the_same_run(tmp_path):
    pytest.importorskip("torch")
    expected = trained(0, tmp_path)[0]
    options = ("--standalone", "--nproc-per-node", "2", str(SCRIPT))
    alone("-m", "torch.distributed.run", *options, str(tmp_path / "t"), "{}")
    for rank in range(2):
        found = json.loads((tmp_path / f"t-{rank}.json").read_text())
        assert found.pop("size") == 2
        assert found == expected


ARGUMENTS = ("train", "digits", "--hidden", "32", "--backend", "numpy", "--dropout", "0.2")


@pytest.mark.slow
def test_the_command_line_writes_once_and_the_same_model(tmp_path):
    out, _ = xpmlp(3, *ARGUMENTS, "--epochs", "3", "--out", "three", cwd=tmp_path)
    assert out.count("test accuracy ") == 2  # the header, and the result: of one worker
    assert re.search(r"^workers +3 \(MPI\); 8 shards of a batch", out, re.MULTILINE)
    alone("-m", "xpmlp", *ARGUMENTS, "--epochs", "3", "--shards", "8", "--out", "one", cwd=tmp_path)
    same_weights(tmp_path / "one", tmp_path / "three")


def same_weights(one: Path, other: Path) -> None:
    """The models of two runs have the same bits; the order of names in their files may differ."""
    first, second = (read(folder / "model.xpmlp")[1] for folder in (one, other))
    assert set(first) == set(second)
    for name, value in first.items():
        assert (value == second[name]).all()


@pytest.mark.slow
def test_the_command_line_says_once_what_is_wrong(tmp_path):
    _, err = xpmlp(3, "train", "nothing.csv", status=2, cwd=tmp_path)
    # The first says it for all, unless it is so slow that another loses patience.
    assert re.search(r"xpmlp: error: (worker \d: )?no such file", err)
    out, err = xpmlp(2, "info", cwd=tmp_path)
    assert len(re.findall("^BLAS", out, re.MULTILINE)) == 1
    assert "only 'train' uses several workers; of 2, the first runs 'info'" in err


def ranks(folder: Path, process) -> dict[int, int]:
    """Process numbers by rank: of the children of mpiexec's child."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = dict(
                line.split(b"=", 1) for line in path.read_bytes().split(b"\0") if b"=" in line
            )
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if b"PMI_RANK" in variables and str(folder).encode() in command and b"pidfd" not in command:
            found[int(variables[b"PMI_RANK"])] = int(path.parent.name)
    return found


@pytest.mark.slow
def test_a_killed_worker_ends_all_and_the_run_resumes_to_the_same_bits(tmp_path, request):
    """``--full`` kills 200 times; a run is resumed on another number of workers each time."""
    kills, rng = 200 if request.config.getoption("--full") else 2, random.Random(0)
    arguments = [*ARGUMENTS, "--epochs", "150", "--quiet"]
    expected = tmp_path / "expected"
    alone("-m", "xpmlp", *arguments, "--shards", "8", "--out", str(expected))
    done, n = 0, 0
    while done < kills:
        folder, n = tmp_path / f"run{n}", n + 1
        command = [*arguments, "--checkpoint-every", "7", "--out", str(folder)]
        while not (folder / "result.json").exists():
            size, before = rng.choice([2, 3, 4]), newest(folder)
            with started(size, "-m", "xpmlp", *command) as process:
                wait_for_newer(process, folder, before)
                if done < kills:
                    sleep(rng.random() / 5)  # somewhere within the next steps
                    done += killed(folder, process, rng)
                out, err = process.communicate(timeout=LIMIT)
                assert not out.strip() or "BAD TERMINATION" in out
                if process.returncode and "to resume" in err:
                    assert f"mpiexec -n {size} xpmlp train --resume {folder}" in err
            command = ["train", "--resume", str(folder), "--quiet"]
        same_weights(expected, folder)


def newest(folder: Path) -> str | None:
    """The newest checkpoint of a run."""
    return max((path.name for path in (folder / "checkpoints").glob("step-*")), default=None)


def wait_for_newer(process, folder, before) -> None:
    """Wait for another newest checkpoint, or until the workers have ended."""
    end = monotonic() + LIMIT
    while newest(folder) in (None, before) and process.poll() is None:
        assert monotonic() < end
        sleep(0.01)


def killed(folder: Path, process, rng) -> bool:
    """Kill a worker, and wait until all have ended; whether there was one to kill."""
    found = ranks(folder, process)
    if not found:
        return False
    rank = rng.choice(sorted(found))
    try:
        os.kill(found[rank], signal.SIGKILL)
    except ProcessLookupError:
        return False
    begun = monotonic()
    process.wait(timeout=LIMIT)
    print(f"worker {rank} of {len(found)} killed: all ended after {monotonic() - begun:.2f} s")
    return True
