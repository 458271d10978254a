"""A learning rate that is too large, and what helps: the library says which step blew up."""

from typing import Any

import xpmlp

data = xpmlp.data.load("xor")
RATE = 0.5
BASE: dict[str, Any] = {"sizes": [2, 50, 50, 2], "batch_size": 10, "optimizer": xpmlp.SGD(RATE)}
REMEDIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a smaller learning rate": {"optimizer": xpmlp.SGD(RATE / 10)},
    "a decaying one": {"optimizer": xpmlp.SGD(xpmlp.schedules.InverseTime(RATE))},
    "gradient clipping": {"optimizer": xpmlp.SGD(RATE, clip_norm=1.0)},
    "a larger minibatch": {"batch_size": 100},
    "fewer layers": {"sizes": [2, 50, 2]},
    "L2": {"l2": 0.01},
    "L1": {"l1": 0.001},
}

for name, changed in REMEDIES.items():
    settings = BASE | changed
    fit = {key: settings.pop(key) for key in ("batch_size", "optimizer")}
    mlp = xpmlp.MLP(activation="tanh", loss="mse", seed=0, **settings)
    try:
        mlp.fit(data.X, data.y, epochs=60, **fit)
    except xpmlp.errors.DivergenceError as error:
        print(f"{name}: {error}")
    else:
        print(f"{name}: accuracy {mlp.evaluate(data.X_test, data.y_test)['accuracy']:.1%}")
