"""The others, each as its users would write it: PyTorch, JAX, scikit-learn."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.problems import Problem


class Torch:
    """PyTorch with autograd and fused Adam, as its tutorials write it.

    Parameters
    ----------
    problem : Problem
    device : str
    compiled : bool
        Whether model and loss go through ``torch.compile``.
    bf16 : bool
        Whether they do so under ``torch.autocast`` to bfloat16.
    """

    def __init__(
        self,
        problem: Problem,
        device: str = "cpu",
        compiled: bool = False,
        *,
        bf16: bool = False,
    ) -> None:
        import torch

        self.torch, self.problem, self.device = torch, problem, device
        layers: list[Any] = []
        for n_in, n_out in pairwise(problem.sizes):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1]).to(device)
        self.X = torch.from_numpy(problem.X).to(device)
        self.y = torch.from_numpy(problem.y).to(device)
        loss = self._autocast_loss if bf16 else self._loss
        self.loss = self._compile(loss) if compiled else loss
        self.classes = self._compile(self._classes) if compiled else self._classes

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        made: Callable[..., Any] = self.torch.compile(function)
        return made

    def _autocast_loss(self, x: Any, y: Any) -> Any:
        with self.torch.autocast(self.device, self.torch.bfloat16):
            return self._loss(x, y)

    def _loss(self, x: Any, y: Any) -> Any:
        if x.dtype == self.torch.uint8:
            x = x.float() / 255
        return self.torch.nn.functional.cross_entropy(self.model(x), y)

    def _classes(self, x: Any) -> Any:
        return self.model(x).argmax(1)

    def start(self) -> None:
        """See ``Contestant``."""
        self._take_weights()
        self.adam = self.torch.optim.Adam(self.model.parameters(), lr=self.problem.rate, fused=True)

    def _take_weights(self) -> None:
        with self.torch.no_grad():
            for layer, (W, b) in zip(self.model[::2], self.problem.weights, strict=True):
                layer.weight.copy_(self.torch.from_numpy(W.T))
                layer.bias.copy_(self.torch.from_numpy(b))

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """See ``Contestant``."""
        draw = self.torch.randperm if shuffle else self.torch.arange
        means = []
        for _ in range(epochs):
            order = draw(steps * self.problem.batch, device=self.device)
            means.append(self._epoch(order.split(self.problem.batch)))
        return means

    def _epoch(self, batches: Sequence[Any]) -> float:
        """Train on batches, each the rows of one; return the mean loss."""
        losses = []
        for rows in batches:
            self.adam.zero_grad()
            loss = self.loss(self.X[rows], self.y[rows])
            loss.backward()
            self.adam.step()
            losses.append(loss)
        with self.torch.no_grad():
            return float(self.torch.stack(losses).mean())  # waits for a GPU

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """See ``Contestant``."""
        torch, x = self.torch, self.torch.from_numpy(X).to(self.device)

        def call() -> Any:
            with torch.inference_mode():
                return self.classes(x)

        return call


class Jax:
    """JAX: an epoch is one compiled scan with ``jax.grad`` and Adam, its state donated."""

    def __init__(self, problem: Problem) -> None:
        import jax

        self.jax, self.problem = jax, problem
        self.rng = np.random.default_rng(0)
        self.X, self.y = jax.numpy.asarray(problem.X), jax.numpy.asarray(problem.y, "int32")
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.classes = jax.jit(lambda weights, x: self._forward(weights, x).argmax(1))

    def _forward(self, weights: Any, x: Any) -> Any:
        *hidden, (W, b) = weights
        for V, c in hidden:
            x = self.jax.nn.relu(x @ V + c)
        return x @ W + b

    def _loss(self, weights: Any, x: Any, y: Any) -> Any:
        if x.dtype == "uint8":
            x = x.astype("float32") / 255
        log_p = self.jax.nn.log_softmax(self._forward(weights, x))
        return -log_p[self.jax.numpy.arange(len(y)), y].mean()

    def _epoch(self, state: Any, X: Any, y: Any, order: Any) -> Any:
        """Scan over the batches whose rows ``order`` holds; return state and mean loss."""
        each = self.jax.tree.map

        def step(state: Any, rows: Any) -> Any:
            weights, first, second, t = state
            loss, g = self.jax.value_and_grad(self._loss)(weights, X[rows], y[rows])
            t = t + 1
            first = each(lambda m, g: 0.9 * m + 0.1 * g, first, g)
            second = each(lambda v, g: 0.999 * v + 0.001 * g * g, second, g)
            rate, root = self.problem.rate / (1 - 0.9**t), (1 - 0.999**t) ** 0.5

            def moved(p: Any, m: Any, v: Any) -> Any:
                return p - rate * m / (self.jax.numpy.sqrt(v) / root + 1e-8)

            return (each(moved, weights, first, second), first, second, t), loss

        state, losses = self.jax.lax.scan(step, state, order)
        return state, losses.mean()

    def start(self) -> None:
        """See ``Contestant``."""
        weights = self.jax.tree.map(self.jax.numpy.array, self.problem.weights)
        zeros = partial(self.jax.tree.map, self.jax.numpy.zeros_like, weights)
        self.state = (weights, zeros(), zeros(), self.jax.numpy.float32(0))

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """See ``Contestant``."""
        means = []
        for _ in range(epochs):
            order = self._order(steps * self.problem.batch, shuffle).reshape(steps, -1)
            self.state, mean = self.epoch(self.state, self.X, self.y, order)
            means.append(float(mean))  # waits for the device
        return means

    def _order(self, rows: int, shuffle: bool) -> Any:
        order = np.arange(rows, dtype=np.int32)
        if shuffle:
            self.rng.shuffle(order)
        return order

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """See ``Contestant``."""
        x = self.jax.numpy.asarray(X)
        return lambda: self.classes(self.state[0], x).block_until_ready()


class ScikitLearn:
    """scikit-learn's classifier by ``partial_fit``; its inputs are scaled beforehand, in float32.

    Of two classes it makes a single logistic output. Given as one-hot rows they are two outputs,
    and with their activation set to softmax it trains the network that the others train.
    """

    def __init__(self, problem: Problem) -> None:
        from sklearn.neural_network import MLPClassifier

        self.problem = problem
        self.X = problem.X
        if self.X.dtype == np.uint8:
            self.X = self.X.astype(np.float32) / np.float32(255)
        outputs = problem.sizes[-1]
        self.y = np.eye(2, dtype=int)[problem.y] if outputs == 2 else problem.y
        self.model = MLPClassifier(
            problem.sizes[1:-1],
            alpha=0.0,
            batch_size=problem.batch,
            learning_rate_init=problem.rate,
            random_state=0,
        )
        first = slice(problem.batch)
        self.model.partial_fit(self.X[first], self.y[first], classes=range(outputs))
        self.model.out_activation_ = "softmax"

    def start(self) -> None:
        """See ``Contestant``."""
        self.model.coefs_ = [W.copy() for W, _ in self.problem.weights]
        self.model.intercepts_ = [b.copy() for _, b in self.problem.weights]
        if hasattr(self.model, "_optimizer"):
            del self.model._optimizer  # partial_fit would go on with the old moments

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """See ``Contestant``."""
        rows = steps * self.problem.batch
        X, y = self.X[:rows], self.y[:rows]
        self.model.shuffle = shuffle
        means = []
        for _ in range(epochs):
            self.model.partial_fit(X, y)
            means.append(float(self.model.loss_))
        return means

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """See ``Contestant``."""
        return lambda: self.model.predict(X)
