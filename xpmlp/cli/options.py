"""The options of every command. The commands themselves are imported only when they run."""

import argparse
from collections.abc import Callable
from typing import Any

from xpmlp.cli.defaults import DEFAULTS, SCHEDULES, in_words, text

ACTIVATIONS = (
    "identity, sign, binary_step, sigmoid, tanh, relu, leaky_relu, elu, selu, gelu, "
    "gelu_tanh, softplus, swish, mish, softmax"
)
OPTIMIZERS = "sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw"

_DTYPES = ("float32", "float64")
_LABELED = "digits, mnist, xor, an .npz file, a table (.csv, ...), or a folder as for train"

Parser = argparse.ArgumentParser


_COMMON: dict[str, dict[str, Any]] = {
    "--augment-rounds": {
        "type": int,
        "default": 0,
        "metavar": "N",
        "help": "of a model trained with --augment: the mean over N variants of each picture "
        "(default: 0)",
    },
    "--backend": {
        "metavar": "NAME",
        "help": "auto, numpy, cupy, torch, jax or dpnp; or an array API module, such as dask.array "
        "(default: $XPMLP_BACKEND, or auto: a GPU if it works)",
    },
    "--data-dir": {
        "metavar": "FOLDER",
        "help": "folder with the MNIST files (default: $XPMLP_DATA_DIR, or a download)",
    },
    "--device": {"metavar": "NAME", "help": "as the library names it, such as cuda:1"},
    "--json": {"metavar": "FILE", "help": "write the result as JSON to a file; - is stdout"},
    "--label": {
        "action": "append",
        "metavar": "COLUMN",
        "help": "label column of a table, name or number from 0; several times for several labels "
        "(default: that of the training; or label, target, class, y, or the last)",
    },
    "--header": {
        "action": argparse.BooleanOptionalAction,
        "help": "whether the first row of a text file has the names (default: seen from the cells)",
    },
    "--normalization": {"choices": ("layer", "batch"), "help": "between layers (default: none)"},
    "--seed": {"type": int, "default": 0, "metavar": "N", "help": "random seed (default: 0)"},
}
"""Options that several commands have."""


def _common(parser: Any, *names: str) -> None:
    for name in names:
        parser.add_argument(name, **_COMMON[name])


def _model_and_data(parser: Parser, data: str, **optional: Any) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model file, or a run folder", **optional)
    parser.add_argument("data", metavar="DATA", help=data, **optional)
    _common(parser, "--data-dir", "--label", "--header", "--backend", "--device")


def _train(parser: Parser) -> None:
    parser.usage = "xpmlp train [DATA] [options]"
    parser.description = (
        "Train a network, and write the model, the history, the result and a picture to a run "
        "folder. The accuracy on the test rows is printed after each epoch. With --early-stopping "
        "a tenth of the training rows is held out and used instead, so that the test rows "
        "influence nothing."
    )
    add = parser.add_argument
    data = (
        "digits, mnist, xor, an .npz file, a table (.csv, .tsv, .txt, .data, .parquet, .jsonl, "
        "packed as .gz or .zip or not), rows that stay in their file (.npy, .arrow, .zarr, a "
        "folder of .parquet files), or a folder with a subfolder of pictures for each class "
        "(default: digits)"
    )
    add("data", nargs="?", default="digits", metavar="DATA", help=data)

    group = parser.add_argument_group("network")
    add = group.add_argument
    made = (
        "every setting of a network for a table, found to be good on many: best, with embeddings; "
        "fast, half the work; or plain, the network of the options below (default: best for a "
        "table of up to 100,000 rows with one label, unless one of the options below is given). "
        "For mnist, what options may change: quick, seconds; good, minutes; best, most of an hour"
    )
    add("--recipe", choices=("plain", "fast", "quick", "good", "best"), help=made)
    units = f"units of each hidden layer ({in_words('hidden')})"
    add("--hidden", type=int, nargs="*", metavar="N", help=units)
    add("--activation", default="relu", metavar="NAME", help=f"{ACTIVATIONS} (default: relu)")
    add("--dropout", type=float, metavar="P", help=f"dropout rate ({in_words('dropout')})")
    _common(group, "--normalization")
    residual = "residual connections between layers of equal width"
    add("--residual", action="store_true", help=residual)
    add("--dtype", choices=_DTYPES, default="float32", help="(default: float32)")
    rounded = "precision of matrix products, if the device has it (default: float32)"
    choices = ("float32", "tf32", "bf16")
    add("--precision", choices=choices, default="float32", help=rounded)

    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--epochs", type=int, metavar="N", help=f"passes over the data ({in_words('epochs')})")
    add("--batch-size", type=int, metavar="N", help=f"rows per step ({in_words('batch_size')})")
    add("--lr", type=float, metavar="RATE", help=f"learning rate ({in_words('lr')})")
    falls = "how the learning rate changes over the epochs (default: cosine)"
    add("--schedule", choices=tuple(SCHEDULES), default="cosine", help=falls)
    add("--optimizer", default="adam", metavar="NAME", help=f"{OPTIMIZERS} (default: adam)")
    kinds = (
        "vary the pictures in each step: shift, rotate, scale, shear, elastic, erase, noise; with "
        "a strength as in rotate:10 (default: none)"
    )
    add("--augment", nargs="+", metavar="KIND", help=kinds)
    averaged = "predict with weights averaged over the steps, such as 0.999 (default: not)"
    add("--average", type=float, metavar="A", help=averaged)
    add("--l2", type=float, default=0.0, metavar="LAMBDA", help="L2 penalty (default: 0)")
    patience = "stop after N epochs without improvement; keep the best weights (default: off)"
    add("--early-stopping", type=int, metavar="N", help=patience)
    sure = "hold rows out, and learn from them how sure the predictions are (default: off)"
    add("--calibrate", action="store_true", help=sure)
    watch = "report what is wrong with the training, why, and what to change"
    add("--diagnose", action="store_true", help=watch)
    _common(group, "--seed")
    steps = "save every N steps; keep the last three and the best (default: at most once a minute)"
    add("--checkpoint-every", type=int, metavar="N", help=steps)
    folder = "resume the interrupted run in FOLDER, bit for bit; or one of its checkpoint files"
    add("--resume", metavar="FOLDER", help=folder)

    group = parser.add_argument_group("data")
    _common(group, "--data-dir", "--label", "--header")
    add = group.add_argument
    mark = "decimal mark of a text file (default: seen from the numbers)"
    add("--decimal", choices=(".", ","), metavar="MARK", help=mark)
    for option, what in (
        ("--drop", "columns to leave out"),
        ("--categorical", "columns to take as categories, whatever they look like"),
        ("--numeric", "columns to take as numbers; cells that are none count as missing"),
    ):
        add(option, nargs="+", action="extend", metavar="COLUMN", help=what)
    add("--dry-run", action="store_true", help="stop after printing what each column is")
    share = "fraction of rows held out for testing, if the data have no test part (default: 0.2)"
    add("--test-fraction", type=float, default=0.2, metavar="P", help=share)
    task = "what the labels of a file are (default: inferred from the values)"
    add("--task", choices=("classification", "regression"), help=task)

    group = parser.add_argument_group("machine and output")
    _common(group, "--backend", "--device")
    add = group.add_argument
    who = "processes that train together (default: auto, those of mpiexec or srun)"
    add("--workers", metavar="NAME", help=who)
    cut = "parts of a batch, shared among workers (default with workers: 8)"
    add("--shards", type=int, metavar="N", help=cut)
    order = "how shards are added up: in a fixed order, or as the engine does it (default: tree)"
    add("--reduction", choices=("tree", "engine"), default="tree", help=order)
    toml = "settings in a TOML file: lr = 0.01; options win (each run folder has its run.toml)"
    add("--config", metavar="FILE", help=toml)
    place = "memory for the training data (default: auto, the host if the GPU's is too small)"
    add("--data-on", choices=("auto", "device", "host"), default="auto", help=place)
    add("--out", metavar="FOLDER", help="run folder (default: runs/DATA, runs/DATA-2, ...)")
    _common(group, "--json")
    add("--quiet", action="store_true", help="print errors only")


def _evaluate(parser: Parser) -> None:
    parser.usage = "xpmlp evaluate MODEL DATA [options]"
    parser.description = (
        "Print loss and accuracy, and recall and precision of each class. Uses the test part of "
        "digits, mnist, xor and .npz files that have one, and every row of other files. The "
        "calibration error is how far probabilities are from the share of rows that is right. Of a "
        "calibrated model (train --calibrate), probabilities are those after the calibration."
    )
    _model_and_data(parser, _LABELED)
    _common(parser, "--augment-rounds", "--json")


def _predict(parser: Parser) -> None:
    parser.usage = "xpmlp predict MODEL DATA... [options]"
    parser.description = (
        "Print the predicted class and its probability, or the predicted value, for each row or "
        "picture. A note says why a picture may be misread."
    )
    data = "as for evaluate, with or without labels; or pictures (.png, .jpg, ...), or a folder"
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model file, or a run folder")
    add("data", metavar="DATA", nargs="+", help=f"{data} of them")
    _common(parser, "--data-dir", "--label", "--header", "--backend", "--device", "--json")
    _common(parser, "--augment-rounds")
    add("--show", action="store_true", help="draw the pixels of a picture that the network sees")
    parser.add_argument("--limit", type=int, metavar="N", help="first N rows only (default: all)")
    share = (
        "of a calibrated model: an interval that has the true value with this chance, such as 0.9"
    )
    add("--interval", type=float, metavar="C", help=share)
    share = "of a calibrated model: a set of classes that has the right one with this chance"
    add("--sets", type=float, metavar="C", help=share)
    new = "write the rows with their predictions to a .csv, .tsv, .parquet or .jsonl file"
    parser.add_argument("--out", metavar="FILE", help=new)


def _info(parser: Parser) -> None:
    parser.usage = "xpmlp info [options]"
    parser.description = (
        "Show versions, processor, backends and devices, and what is missing. With --measure, "
        "show how fast each backend trains a network here."
    )
    add = parser.add_argument_group("measurement").add_argument
    add("--measure", action="store_true", help="train on each backend for about 2 seconds")
    units = f"units of each layer (default: 784 {text(DEFAULTS['hidden'])} 10, as for MNIST)"
    add("--sizes", type=int, nargs="+", metavar="N", help=units)
    rows = f"rows per step (default: {DEFAULTS['batch_size']})"
    add("--batch-size", type=int, metavar="N", help=rows)
    rate = f"dropout rate (default: {DEFAULTS['dropout']:g})"
    add("--dropout", type=float, metavar="P", help=rate)
    _common(parser, "--json")


def _explain(parser: Parser) -> None:
    parser.usage = "xpmlp explain [MODEL DATA] [options]"
    parser.description = (
        "Show every value of one training step: the forward and backward pass with formulas, "
        "shapes and numbers, the chain rule, a finite difference next to each gradient, and the "
        "updated weights. Without MODEL it is the worked step of the lecture slides."
    )
    _model_and_data(parser, _LABELED, nargs="?")
    add = parser.add_argument
    add("--row", type=int, default=1, metavar="N", help="which example, from 1 (default: 1)")
    chosen = "the optimizer that takes the step (default: sgd)"
    add("--optimizer", default="sgd", metavar="NAME", help=chosen)
    add("--lr", type=float, default=1e-3, metavar="RATE", help="learning rate (default: 0.001)")
    training = "dropout and batch normalization as in training (default: as in prediction)"
    add("--training", action="store_true", help=training)
    add("--full", action="store_true", help="show all values of large arrays")
    add(
        "--format",
        choices=("text", "markdown", "html"),
        help="(default: by the suffix of --out, else text)",
    )
    add("--out", metavar="FILE", help="write to a file instead of the screen")


def _export(parser: Parser) -> None:
    parser.usage = "xpmlp export MODEL FILE [options]"
    parser.description = (
        "Write a trained model for other tools, by the suffix of FILE: .onnx for onnxruntime and "
        "others (with the extra onnx); .py, a file that predicts with Python's standard library "
        "alone; .h, a C99 header."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model file, or a run folder")
    add("file", metavar="FILE", help="such as model.onnx, model.py or model.h")
    prefix = "what the names in a C header begin with (default: that of the file)"
    add("--name", metavar="NAME", help=prefix)
    parser.set_defaults(backend="numpy", device=None)


def _verify(parser: Parser) -> None:
    parser.usage = "xpmlp verify [options]"
    parser.description = (
        "Train the same network from the same seed on two backends, and compare them after every "
        "step. If they differ, name the first step, layer and quantity. The exit status is 0 if "
        "they agree and 1 if not."
    )
    add = parser.add_argument
    names = "one or two, such as numpy torch:cuda:0 (default: numpy and the next that works here)"
    add("--backends", nargs="+", default=["numpy"], metavar="NAME", help=names)
    add("--data", default="digits", help="digits, mnist, xor, or a file (default: digits)")
    units = "units of each hidden layer (default: 32 16)"
    add("--hidden", type=int, nargs="*", default=[32, 16], metavar="N", help=units)
    add("--activation", default="relu", metavar="NAME", help="(default: relu)")
    add("--dropout", type=float, default=0.2, metavar="P", help="dropout rate (default: 0.2)")
    add("--dtype", choices=_DTYPES, default="float64", help="(default: float64)")
    add("--steps", type=int, default=100, metavar="N", help="(default: 100)")
    add("--batch-size", type=int, default=32, metavar="N", help="rows per step (default: 32)")
    add("--optimizer", default="adam", metavar="NAME", help="(default: adam)")
    add("--lr", type=float, metavar="RATE", help="learning rate (default: the optimizer's)")
    most = "largest relative difference (default: 1e-10 in float64, 1e-4 in float32)"
    add("--tolerance", type=float, metavar="X", help=most)
    _common(parser, "--data-dir", "--normalization", "--seed", "--json")


def _xor(parser: Parser) -> None:
    parser.usage = "xpmlp xor [options]"
    parser.description = (
        "Train a network with one hidden layer on XOR, and draw accuracy, decision boundary and "
        "loss. The scenarios show what can go wrong: a training run that explodes, next to its "
        "remedies; and the original tutorial's runs with its mistake in the L2 gradient, next to "
        "the right gradient (a minute)."
    )
    add = parser.add_argument
    units = "hidden neurons; several numbers are several runs (default: 10)"
    add("--hidden", type=int, nargs="+", metavar="N", help=units)
    add("--epochs", type=int, metavar="N", help="(default: 100)")
    add("--lr", type=float, metavar="RATE", help="initial learning rate (default: 0.02)")
    add("--scenario", choices=("exploding", "original"), help="what to show instead")
    full = "all runs of the original, about 4 million steps: a quarter of an hour"
    add("--full", action="store_true", help=full)
    add("--gif", action="store_true", help="also draw the training as an animation")
    add("--out", default="runs/xor", metavar="FOLDER", help="for the pictures (default: runs/xor)")
    _common(parser, "--seed", "--backend")


def _pictures(parser: Parser) -> None:
    parser.usage = "xpmlp pictures [WHAT [MODEL]] [options]"
    parser.description = (
        "Draw every activation with its derivative, a trained network, 64 sample digits, and an "
        "underfit, a good fit and an overfit of the same points. Or sixteen variants of a digit, "
        "as training with --augment sees them; or what a model reads wrongly, the surest first."
    )
    add = parser.add_argument
    asked = "augment, errors, or all of the tutorial's (default: all)"
    add("what", nargs="?", metavar="WHAT", default="all", help=asked)
    add("model", nargs="?", metavar="MODEL", help="for errors: a model file, or a run folder")
    kinds = "for augment, as for train (default: elastic, rotate, scale and shift)"
    add("--augment", nargs="+", metavar="KIND", help=kinds)
    add("--row", type=int, default=1, metavar="N", help="for augment: which digit (default: 1)")
    add("--out", default="runs/pictures", metavar="FOLDER", help="(default: runs/pictures)")
    add("--data", choices=("digits", "mnist"), help="(default: digits; for errors the model's)")
    _common(parser, "--data-dir", "--backend")
    parser.set_defaults(device=None)


def _play(parser: Parser) -> None:
    parser.usage = "xpmlp play [options]"
    parser.description = (
        "Serve a page to this machine's browser, on which a network learns before your eyes: data, "
        "layers and training by clicking, the formulas with their numbers, and what is wrong with "
        "a run. Nothing leaves this machine. Ctrl-C ends it."
    )
    add = parser.add_argument
    port = "port on 127.0.0.1; 0 is any that is free (default: 8765, or the next that is free)"
    add("--port", type=int, metavar="N", help=port)
    add("--no-browser", action="store_true", help="only print the address")


def _completion(parser: Parser) -> None:
    parser.usage = "xpmlp completion SHELL"
    parser.description = (
        "Print a script with which a shell completes commands, options and file names. Save it "
        "where the shell finds it, or evaluate it in its startup file."
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose script to print")


def _card(parser: Parser) -> None:
    parser.usage = "xpmlp card MODEL [options]"
    parser.description = (
        "Print a model card in Markdown: what a model is, how it was made, and how to load it. Of "
        "a run folder it has the results, too."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model file, or a run folder")
    add("--title", metavar="TEXT", help="(default: the name of the data)")
    add("--out", metavar="FILE", help="write to a file, such as README.md, instead of the screen")


COMMANDS: dict[str, tuple[Callable[[Parser], None], str]] = {
    "train": (_train, "train a network and save it in a run folder"),
    "evaluate": (_evaluate, "measure a trained model on data with labels"),
    "predict": (_predict, "apply a trained model to data or to a picture"),
    "info": (_info, "show what is installed, what works here, and why not"),
    "explain": (_explain, "show every number of one training step"),
    "export": (_export, "write a trained model for other tools: ONNX, Python, C"),
    "verify": (_verify, "train on two backends and find where they differ"),
    "xor": (_xor, "run the tutorial: XOR learned, and what can go wrong"),
    "play": (_play, "watch a network learn, on a page in the browser"),
    "pictures": (_pictures, "draw the tutorial's pictures: activations, digits, ..."),
    "card": (_card, "print a model card: what a model is and how it was made"),
    "completion": (_completion, "print a script by which a shell completes commands"),
}
"""For each command, what declares its options, and its line in ``xpmlp --help``."""
