"""Train, save and load with the core dependencies alone; fails if anything else is installed."""

import tempfile
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

import xpmlp

CORE = {"xpmlp", "numpy", "array-api-compat", "safetensors", "pip", "setuptools"}
found = {d.metadata["Name"].lower().replace("_", "-") for d in distributions()}
if found - CORE:
    raise SystemExit(f"expected only the core dependencies; found also {sorted(found - CORE)}")

data = xpmlp.data.load("xor")
mlp = xpmlp.MLP([2, 10, 2], backend="numpy", seed=0)
mlp.fit(data.X, data.y, epochs=200, batch_size=32, optimizer=xpmlp.Adam(1e-2))
with tempfile.TemporaryDirectory() as folder:
    mlp.save(Path(folder) / "xor.xpmlp")
    loaded = xpmlp.load(Path(folder) / "xor.xpmlp", backend="numpy")
accuracy = loaded.evaluate(data.X_test, data.y_test)["accuracy"]
same = np.array_equal(loaded.predict(data.X_test), mlp.predict(data.X_test))
print(f"core only: XOR learned to {accuracy:.3f}, the loaded model agrees: {same}")
if accuracy < 0.95 or not same:
    raise SystemExit(1)
