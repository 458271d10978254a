"""What workers under mpiexec run in tests: a training, as the arguments say, and its bits."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import xpmlp
from xpmlp.parallel.find import communicator


def main(out: str, said: str) -> None:
    how = json.loads(said)
    data = xpmlp.data.load("digits")
    X, y = data.X[:600], data.y[:600]
    together = communicator(how.pop("workers", "auto"))
    if how.pop("other_data_on", None) == together.rank:
        X = X + 1
    seed = 5 if how.pop("other_seed_on", None) == together.rank else 4
    mlp = xpmlp.MLP(
        *([64, 24, 16, 10],),
        dropout=0.2,
        normalization="batch",
        scaling=None,
        backend=how.pop("backend", "numpy"),
        seed=seed,
    )
    fails = how.pop("fails_on", None)

    class Fails(xpmlp.Callback):
        def on_epoch_begin(self, training):
            if training.epoch == 1 and fails == together.rank:
                raise OSError("the disk is full")

    class Stop(xpmlp.Callback):
        def on_epoch_end(self, training):
            if training.finished == stop:
                raise KeyboardInterrupt

    stop = how.pop("stop", None)
    history = mlp.fit(
        *(X / 16, y),
        epochs=how.pop("epochs", 3),
        batch_size=64,
        optimizer=xpmlp.AdamW(0.01, clip_norm=1.0),
        validation_split=0.2,
        callbacks=[xpmlp.EarlyStopping(patience=3), Fails(), Stop()],
        workers=together,
        **how,
    )
    flat = mlp.backend.to_numpy(mlp.weights.flat)
    values = {name: found for name, found in history.items() if name != "seconds"}
    found = {"size": together.size, "history": values}
    found["weights"] = hashlib.sha256(flat.tobytes()).hexdigest()
    np.save(f"{out}-{together.rank}.npy", flat)
    Path(f"{out}-{together.rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
