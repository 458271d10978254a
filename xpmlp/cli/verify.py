"""``xpmlp verify``: does training give the same on two backends, and if not, where not?"""

import os
from argparse import Namespace
from dataclasses import replace

import xpmlp_backends

from xpmlp.cli.output import Output
from xpmlp.data import load
from xpmlp.data.frame import Frame
from xpmlp.data.table import Table
from xpmlp.inspect.verify.parity import verify
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import optimizer


def run(options: Namespace) -> int:
    """Compare, print the report, and return the exit status.

    Raises
    ------
    XpmlpError
        For options that cannot work, or where there is no second backend.
    """
    if options.dtype == "float64":
        # JAX reads this when it is first imported, and has no float64 without.
        os.environ.setdefault("JAX_ENABLE_X64", "1")
    data = load(options.data, data_dir=options.data_dir, seed=options.seed)
    if isinstance(data.X, Frame):
        data = replace(data, X=Table().fit(data.X).transform(data.X))
    mlp = MLP(
        [data.X.shape[1], *options.hidden, data.outputs],
        options.activation,
        dropout=options.dropout,
        normalization=options.normalization,
        scaling=data.scaling,
        dtype=options.dtype,
        backend="numpy",
        seed=options.seed,
    )
    chosen = optimizer(options.optimizer)
    named = [name.partition(":") for name in options.backends]
    parity = verify(
        mlp,
        data.X,
        data.y,
        backends=[xpmlp_backends.backend(name, device or None) for name, _, device in named],
        steps=options.steps,
        batch_size=options.batch_size,
        optimizer=replace(chosen, learning_rate=options.lr) if options.lr is not None else chosen,
        tolerance=options.tolerance,
    )
    out = Output(options.json)
    out.show(parity.report().splitlines())
    out.record(parity.to_dict())
    return 0 if parity.agrees else 1
