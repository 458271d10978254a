"""The same seed on every backend that is installed: the same training, up to rounding."""

import numpy as np
from xpmlp_backends import why_not

import xpmlp

data = xpmlp.data.load("xor")
losses: dict[str, list[float]] = {}
for name in ("numpy", "torch", "jax", "cupy", "dpnp"):
    if reason := why_not(name):
        print(f"{name}: not here ({reason})")
        continue
    mlp = xpmlp.MLP([2, 10, 2], dropout=0.1, backend=name, seed=0)
    history = mlp.fit(data.X, data.y, epochs=20, batch_size=32, optimizer=xpmlp.Adam(1e-2))
    losses[name] = history["loss"]
    accuracy = mlp.evaluate(data.X_test, data.y_test)["accuracy"]
    seconds = sum(history["seconds"])
    print(f"{name}: loss {history['loss'][-1]:.6f}, accuracy {accuracy:.1%}, {seconds:.2f} s")

for name, values in losses.items():
    apart = np.abs(np.array(values) - np.array(losses["numpy"])).max()
    print(f"{name}: epoch losses at most {apart:.1e} from NumPy's")
