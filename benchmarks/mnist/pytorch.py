"""The same recipe with PyTorch, as its users would write it: autograd, Adam, grid_sample."""

import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from xpmlp.training.digit_recipes import DigitRecipe

SIDE = 28
SIGMA = 4.0


class Torch:
    """A network, warmed up; the data are on the device."""

    def __init__(
        self, recipe: DigitRecipe, job: dict[str, Any], X: Any, y: Any, epochs: int
    ) -> None:
        self.recipe, self.epochs, self.place = recipe, epochs, torch.device(job["device"] or "cpu")
        torch.set_num_threads(job["threads"])
        torch.manual_seed(job["seed"])
        self.X, self.y = torch.from_numpy(X).to(self.place), torch.from_numpy(y).to(self.place)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((SIDE * SIDE, *recipe.hidden, 10)):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(recipe.dropout)]
        self.model = nn.Sequential(*layers[:-2]).to(self.place)
        gpu = self.place.type == "cuda"
        self.device = torch.cuda.get_device_name(self.place) if gpu else "cpu"
        before = deepcopy(self.model.state_dict())
        for _ in self._epochs(1, min(2000, len(X))):
            pass
        self.model.load_state_dict(before)

    def train(self, every: int) -> tuple[float, list[tuple[int, float, Any]]]:
        """Return the seconds of training, and (epoch, seconds, weights) of those that are kept."""
        kept, spent, start = [], 0.0, perf_counter()
        for epoch, weights in enumerate(self._epochs(self.epochs, len(self.X)), start=1):
            self._wait()
            spent += perf_counter() - start
            if epoch % every == 0 or epoch == self.epochs:
                kept.append((epoch, spent, deepcopy(weights)))
            start = perf_counter()
        return spent, kept

    def _wait(self) -> None:
        if self.place.type == "cuda":
            torch.cuda.synchronize(self.place)

    def _epochs(self, epochs: int, rows: int) -> Iterator[dict[str, Any]]:
        """Train; yield the weights to predict with after each epoch."""
        recipe, steps = self.recipe, math.ceil(rows / self.recipe.batch_size)
        optimizer = torch.optim.Adam(self.model.parameters())
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=epochs * steps, cycle_momentum=False
        )
        average = None
        if recipe.average is not None:
            from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

            average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average))
        for _ in range(epochs):
            self.model.train()
            for part in torch.randperm(rows, device=self.place).split(recipe.batch_size):
                x = augmented(self.X[part].float() / 255, recipe.augment)
                loss = functional.cross_entropy(self.model(x), self.y[part])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                cycle.step()
                if average is not None:
                    average.update_parameters(self.model)
            yield (self.model if average is None else average.module).state_dict()

    def accuracy(self, weights: Any, X: Any, y: Any, rounds: int) -> float:
        """Return the share of pictures that these weights read right."""
        self.model.load_state_dict(weights)
        self.model.eval()
        with torch.no_grad():
            x = torch.from_numpy(X).to(self.place).float() / 255
            total = self.model(x).softmax(1)
            for _ in range(rounds):
                total = total + self.model(augmented(x, self.recipe.augment)).softmax(1)
        return float((total.argmax(1).cpu().numpy() == y).mean())


def augmented(x: torch.Tensor, augment: tuple[str, ...]) -> torch.Tensor:
    """Return variants of pictures in rows, by the names of a recipe."""
    n, device = len(x), x.device
    A = torch.eye(2, device=device).repeat(n, 1, 1)
    t, moves = torch.zeros(n, 2, device=device), None

    def uniform(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device=device).uniform_(-1, 1)

    for spec in augment:
        name, _, given = spec.partition(":")
        if name == "elastic":
            moves = float(given or 34) * smoothed(uniform(2 * n, 1, SIDE, SIDE))
            continue
        B = torch.eye(2, device=device).repeat(n, 1, 1)
        if name == "shift":
            t = t + (A @ (float(given or 2) * uniform(n, 2, 1))).squeeze(2)
        elif name == "rotate":
            angle = math.radians(float(given or 15)) * uniform(n)
            B[:, 0, 0], B[:, 1, 1] = angle.cos(), angle.cos()
            B[:, 0, 1], B[:, 1, 0] = -angle.sin(), angle.sin()
        elif name == "scale":
            B[:, [0, 1], [0, 1]] = 1 / (1 + float(given or 0.15) * uniform(n, 2))
        elif name == "shear":
            B[:, 0, 1] = float(given or 0.15) * uniform(n)
        else:
            raise ValueError(f"augment: found {name!r}, which this peer does not have")
        A = A @ B
    half = (SIDE - 1) / 2  # a picture reaches from −1 to 1
    theta = torch.cat([A, t[:, :, None] / half], dim=2)
    grid = functional.affine_grid(theta, [n, 1, SIDE, SIDE], align_corners=True)
    if moves is not None:
        grid = grid + moves.view(n, 2, SIDE, SIDE).permute(0, 2, 3, 1) / half
    return functional.grid_sample(x.view(n, 1, SIDE, SIDE), grid, align_corners=True).view(n, -1)


def smoothed(field: torch.Tensor) -> torch.Tensor:
    """Return random fields (n, 1, h, w), convolved with a Gaussian."""
    at = torch.arange(-12, 13, device=field.device, dtype=field.dtype)
    kernel = torch.exp(-(at**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    field = functional.conv2d(field, kernel.view(1, 1, -1, 1), padding=(12, 0))
    return functional.conv2d(field, kernel.view(1, 1, 1, -1), padding=(0, 12))
