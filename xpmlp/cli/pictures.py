"""``xpmlp pictures``: what the tutorial's text describes, drawn."""

from argparse import Namespace

from xpmlp.cli.output import Output
from xpmlp.data import load
from xpmlp.storage.paths import expanded
from xpmlp.tutorial import overfitting, pictures
from xpmlp.tutorial.xor import learn


def run(options: Namespace) -> None:
    """Draw all of them."""
    folder = expanded(options.out, "--out")
    data = load(options.data, data_dir=options.data_dir)
    pictures.digits_picture(folder / "digits.png", data)
    pictures.activations_picture(folder / "activations.png")
    pictures.network_picture(folder / "network.png", learn(10, backend=options.backend).mlp)
    overfitting.picture(overfitting.three_fits(backend=options.backend), folder / "overfitting.png")
    Output().say(f"saved in {folder}: activations.png, digits.png, network.png, overfitting.png")
