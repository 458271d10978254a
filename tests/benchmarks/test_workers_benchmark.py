"""The benchmark of workers: its model of cost; and that it runs."""

import json
from pathlib import Path

import pytest

from benchmarks import workers


def test_the_model_finds_the_times_it_was_made_of() -> None:
    made = workers.Model(row=0.02, update=1.5, worker=0.01, sent=2.0)
    steps = {n: made.step(n, 1024, 2) for n in (1, 2, 4, 8)}
    latencies = {n: 2 * (n - 1) * made.worker for n in steps}
    found = workers.fitted(steps, latencies, 1024, 2)
    assert found == pytest.approx(made, rel=1e-6)
    assert found.step(8, 1024, 2) == pytest.approx(steps[8])


def test_no_time_is_negative() -> None:
    steps, latencies = {1: 10.0, 2: 4.0, 4: 3.9}, {1: 0.0, 2: 0.1, 4: 0.3}
    assert min(workers.fitted(steps, latencies, 64, 4)) >= 0


def test_more_workers_need_larger_batches() -> None:
    model = workers.Model(row=0.01, update=1.0, worker=0.02, sent=3.0)
    batches = [workers.pays_from(model, n) for n in (2, 8, 64)]
    assert batches == sorted(batches)
    assert model.step(1, 100) == 2.0
    assert workers.pays_from(model, 1) == 1
    for n, batch in zip((2, 8, 64), batches, strict=True):
        assert batch is not None
        assert model.step(n, batch) < model.step(n // 2, batch)
        assert model.step(n, batch // 2) >= model.step(n // 2, batch // 2) or batch <= n


@pytest.mark.slow
def test_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mpi4py")
    if workers.launcher() is None:
        pytest.skip("mpiexec is not installed: pip install 'xpmlp[mpi]'")
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'backends'}")
    monkeypatch.setattr(workers, "NETWORKS", {"tiny": [8, 16, 10]})
    workers.main(["--rounds", "1", "--batch", "32", "--out", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["tiny"]["ratios"]["2 workers, MPI"]["gain"] > 0
    assert "8 workers, predicted / measured" in found["tiny"]["model"]
    assert "pays from batch" in capsys.readouterr().out


def test_without_mpiexec_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "launcher", lambda: None)
    with pytest.raises(SystemExit, match="xpmlp"):
        workers.main([])
