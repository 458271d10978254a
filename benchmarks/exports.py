"""What exported models take: ONNX files against those of ``torch.onnx``, a C header against us."""

import argparse
import ctypes
import json
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import xpmlp
from benchmarks.environment import describe
from benchmarks.report import not_there, say, table
from benchmarks.rounds import interleave, ratio, spread

NETWORKS: dict[str, tuple[list[int], str, dict[str, Any]]] = {
    "784-128-10": ([784, 128, 10], "relu", {}),
    "784-512-512-10, batch": (
        [784, 512, 512, 10],
        "relu",
        {"normalization": "batch", "residual": True},
    ),
    "64-256-256-10, gelu": (
        [64, 256, 256, 10],
        "gelu",
        {"normalization": "layer", "residual": True},
    ),
    "64-256-256-10, selu": ([64, 256, 256, 10], "selu", {}),
    "64-256-256-10, mish": ([64, 256, 256, 10], "mish", {"normalization": "layer"}),
}
ROWS = (1, 256)
SOURCE = """
#include "model.h"
void rows(const float *x, float *out, int n)
{
  for (int i = 0; i < n; i++) model_predict(x + i * model_inputs, out + i * model_outputs);
}
"""


def main(given: Sequence[str]) -> None:
    """Print how many nodes and how much time each file takes, as ratios, and all as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks exports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--out", type=Path, help="file for the results, as JSON")
    options = parser.parse_args(given)
    found: dict[str, Any] = {"environment": describe()}
    left_out = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in (("onnx", onnx_files), ("c", c_header)):
            try:
                found[name] = measure(Path(folder), options.rounds)
            except (ImportError, FileNotFoundError) as error:
                left_out[name] = str(error)
    say(not_there(left_out))
    say(report(found))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def network(name: str) -> xpmlp.MLP:
    """Return one of ``NETWORKS``, untrained."""
    sizes, activation, settings = NETWORKS[name]
    return xpmlp.MLP(sizes, activation, targets="labels", backend="numpy", seed=0, **settings)


def onnx_files(folder: Path, rounds: int) -> dict[str, Any]:
    """Run ours and PyTorch's file of each network in onnxruntime, on one thread."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found: dict[str, Any] = {}
    for name in NETWORKS:
        mlp, files = network(name), {"ours": folder / "ours.onnx", "theirs": folder / "theirs.onnx"}
        mlp.to_onnx(files["ours"])
        _by_pytorch(mlp, files["theirs"])
        operators = {
            who: [node.op_type for node in onnx.load(path).graph.node]
            for who, path in files.items()
        }
        sessions = {who: onnxruntime.InferenceSession(path, options) for who, path in files.items()}
        found[name] = {
            # Constants and identities are gone when a session has loaded the file.
            f"nodes, {who}": sum(node not in ("Constant", "Identity") for node in nodes)
            for who, nodes in operators.items()
        }
        for rows in ROWS:
            X = np.random.default_rng(0).standard_normal((rows, mlp.sizes[0])).astype(np.float32)
            times = interleave(_runs(sessions, X), rounds, 0.02, settle=0.0)
            found[name][f"{rows} rows"] = {
                "ours / theirs": ratio(times, "ours", "theirs"),
                **{who: spread(values) for who, values in times.items()},
            }
    return found


def _runs(sessions: dict[str, Any], X: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return a call for each session."""
    return {who: partial(session.run, None, {"X": X}) for who, session in sessions.items()}


def _by_pytorch(mlp: xpmlp.MLP, path: Path) -> None:
    """Write the same network, label and probabilities, with PyTorch's exporter."""
    import torch

    class Both(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = mlp.to_torch()

        def forward(self, x: Any) -> Any:
            p = self.network(x)
            return p.argmax(-1), p

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that needs no further package
        torch.onnx.export(
            Both(),
            (torch.zeros(2, mlp.sizes[0]),),
            path,
            dynamo=False,
            opset_version=20,
            input_names=["X"],
            dynamic_axes={"X": {0: "n"}},
        )


def c_header(folder: Path, rounds: int, count: int = 1000) -> dict[str, Any]:
    """Predict row by row, with the header compiled and with ``predict_proba``."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler: neither gcc nor cc")
    mlp = network("784-128-10")
    mlp.to_c(folder / "model.h")
    (folder / "model.c").write_text(SOURCE, encoding="utf-8")
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "model.c", "-lm"]
    subprocess.run([*command, "-o", "model.so"], cwd=folder, check=True)
    rows = ctypes.CDLL(str(folder / "model.so")).rows
    X = np.random.default_rng(0).random((count, 784), dtype=np.float32)
    out = np.empty((count, 10), dtype=np.float32)
    pointers = X.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
    runs: dict[str, Callable[[], object]] = {
        "header": lambda: rows(*pointers, ctypes.c_int(count)),
        "predict_proba": lambda: [mlp.predict_proba(X[i : i + 1]) for i in range(count)],
    }
    runs["header"]()
    assert np.abs(out - mlp.predict_proba(X)).max() < 1e-6
    times = interleave(runs, rounds, 0.02, settle=0.0)
    return {
        "microseconds a row": {who: median(values) / count * 1e6 for who, values in times.items()},
        "header / predict_proba": ratio(times, "header", "predict_proba"),
    }


def report(found: dict[str, Any]) -> list[str]:
    """Return the results as tables."""
    lines: list[str] = []
    if "onnx" in found:
        head = ["ours / torch.onnx", "nodes", *(f"time, {rows} rows" for rows in ROWS)]
        rows = (
            [
                name,
                f"{one['nodes, ours']} / {one['nodes, theirs']}",
                *(one[f"{n} rows"]["ours / theirs"] for n in ROWS),
            ]
            for name, one in found["onnx"].items()
        )
        lines += [*table(head, rows), ""]
    if "c" in found:
        each = found["c"]["microseconds a row"]
        head = ["784-128-10, one row", "microseconds"]
        lines += table(head, ([who, value] for who, value in each.items()))
    return lines
