"""``xpmlp verify``: does a training give the same on two backends, and if not, where not?"""

import argparse
import os

from xpmlp.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Train the same network from the same seed on two backends and compare them after every "
        "step. If they part, name the first step, layer and quantity that differ. The exit "
        "status is 0 if they agree and 1 if not."
    )
    add = parser.add_argument
    names = "one or two, such as numpy torch:cuda:0 (default: numpy and the next that works here)"
    add("--backends", nargs="+", default=["numpy"], metavar="NAME", help=names)
    add("--data", default="digits", help="digits, mnist, xor, or a file (default: digits)")
    add("--data-dir", metavar="FOLDER", help="folder with the MNIST files")
    units = "units of each hidden layer (default: 32 16)"
    add("--hidden", type=int, nargs="*", default=[32, 16], metavar="N", help=units)
    add("--activation", default="relu", metavar="NAME", help="(default: relu)")
    add("--normalization", choices=("layer", "batch"), help="between layers (default: none)")
    add("--dropout", type=float, default=0.2, metavar="P", help="(default: 0.2)")
    add("--dtype", choices=("float32", "float64"), default="float64", help="(default: float64)")
    add("--steps", type=int, default=100, metavar="N", help="(default: 100)")
    add("--batch-size", type=int, default=32, metavar="N", help="rows per step (default: 32)")
    add("--optimizer", default="adam", metavar="NAME", help="(default: adam)")
    add("--lr", type=float, metavar="RATE", help="learning rate (default: the optimizer's)")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")
    most = "largest relative difference (default: 1e-10 in float64, 1e-4 in float32)"
    add("--tolerance", type=float, metavar="X", help=most)
    add("--json", metavar="FILE", help="write the result as JSON to a file; - is stdout")


def run(options: argparse.Namespace) -> int:
    """Compare, print the report, and return the exit status.

    Raises
    ------
    XpmlpError
        For options that cannot work, or where there is no second backend.
    """
    if options.dtype == "float64":
        # JAX reads this when it is first imported, and has no float64 without.
        os.environ.setdefault("JAX_ENABLE_X64", "1")
    from dataclasses import replace

    from xpmlp_backends import backend

    from xpmlp.data import load
    from xpmlp.inspect.verify.parity import verify
    from xpmlp.mlp import MLP
    from xpmlp.nn.optimizers import optimizer

    data = load(options.data, data_dir=options.data_dir, seed=options.seed)
    outputs = len(data.classes) if data.classes else data.y[:1].size
    mlp = MLP(
        [data.X.shape[1], *options.hidden, outputs],
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
        backends=[backend(name, device or None) for name, _, device in named],
        steps=options.steps,
        batch_size=options.batch_size,
        optimizer=replace(chosen, learning_rate=options.lr) if options.lr is not None else chosen,
        tolerance=options.tolerance,
    )
    out = Output(options.json)
    out.show(parity.report().splitlines())
    out.record(parity.to_dict())
    return 0 if parity.agrees else 1
