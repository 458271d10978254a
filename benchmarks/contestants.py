"""The same work for xpmlp and for PyTorch: one epoch of Adam on data that lies on the device."""

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import xpmlp
from xpmlp.errors import XpmlpError

Epoch = Callable[[], float]
"""Trains one epoch and returns its seconds, by the wall clock, the device synchronised."""


def xpmlp_epoch(
    name: str, device: str | None, sizes: list[int], X: Any, y: Any, batch: int
) -> Epoch:
    """Return an epoch through ``MLP.fit``, which also sums loss and accuracy; warmed up."""
    mlp = xpmlp.MLP(sizes, backend=name, device=device, seed=0)
    inputs = mlp.backend.asarray(X)

    def epoch() -> float:
        mlp.backend.synchronize()
        start = perf_counter()
        mlp.fit(inputs, y, epochs=1, batch_size=batch, optimizer=xpmlp.Adam(1e-3))
        return perf_counter() - start

    epoch()
    return epoch


def torch_epoch(device: str, sizes: list[int], X: Any, y: Any, batch: int) -> Epoch:
    """Return an epoch of PyTorch eager with fused Adam, as its tutorials write it; warmed up."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    inputs, labels = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
    pixels = inputs.dtype == torch.uint8

    def synchronize() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    def epoch() -> float:
        synchronize()
        start = perf_counter()
        order = torch.randperm(len(inputs), device=device)
        for i in range(0, len(inputs), batch):
            rows = order[i : i + batch]
            x = inputs[rows].float() / 255 if pixels else inputs[rows]
            adam.zero_grad()
            criterion(model(x), labels[rows]).backward()
            adam.step()
        synchronize()
        return perf_counter() - start

    epoch()
    return epoch


def prepare(makers: dict[str, Callable[[], Epoch]]) -> dict[str, Epoch]:
    """Make each contestant; one that cannot run is left out with a line."""
    epochs: dict[str, Epoch] = {}
    for name, make in makers.items():
        try:
            epochs[name] = make()
        except (ImportError, RuntimeError, AssertionError, XpmlpError) as error:
            print(f"left out: {name}: {str(error).splitlines()[0]}", flush=True)
    return epochs


def interleave(epochs: dict[str, Epoch], steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """Run all in turn; return medians in µs per step, and ratios to PyTorch by rounds."""
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            times[name].append(epoch() / steps * 1e6)
    rows: dict[str, dict[str, float]] = {}
    peer = times.get("PyTorch eager")
    for name, values in times.items():
        rows[name] = {"us_per_step": median(values), "min": min(values), "max": max(values)}
        spread = f"({min(values):.1f} to {max(values):.1f})"
        line = f"  {name:<14} {median(values):9.1f} µs per step {spread}"
        if peer:
            ratio = median(p / v for p, v in zip(peer, values, strict=True))
            rows[name]["times_faster_than_pytorch"] = ratio
            line += f"  {ratio:5.2f} × PyTorch's speed"
        print(line, flush=True)
    return rows
