"""``xpmlp pictures``: what the tutorial's text describes, drawn."""

from argparse import ArgumentParser, Namespace

from xpmlp.cli.output import Output
from xpmlp.storage.paths import expanded


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Draw every activation with its derivative, a trained network, 64 sample digits, and "
        "an under-fit, a good fit and an over-fit of the same points."
    )
    add = parser.add_argument
    add("--out", default="runs/pictures", metavar="FOLDER", help="(default: runs/pictures)")
    add("--data", choices=("digits", "mnist"), default="digits", help="(default: digits)")
    folder = "folder with the MNIST files (default: $XPMLP_DATA_DIR, or a download)"
    add("--data-dir", metavar="FOLDER", help=folder)
    names = "auto, numpy, cupy, torch or jax (default: $XPMLP_BACKEND, or auto: a GPU if it works)"
    add("--backend", metavar="NAME", help=names)


def run(options: Namespace) -> int:
    """Draw all of them."""
    from xpmlp.data import load
    from xpmlp.tutorial import overfitting, pictures
    from xpmlp.tutorial.xor import learn

    out, folder = Output(), expanded(options.out, "--out")
    data = load(options.data, data_dir=options.data_dir)
    pictures.digits_picture(folder / "digits.png", data)
    pictures.activations_picture(folder / "activations.png")
    pictures.network_picture(folder / "network.png", learn(10, backend=options.backend).mlp)
    overfitting.picture(overfitting.three_fits(backend=options.backend), folder / "overfitting.png")
    out.say(f"in {folder}: activations.png, digits.png, network.png, overfitting.png")
    return 0
