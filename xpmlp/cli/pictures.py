"""``xpmlp pictures``: what the tutorial's text describes, variants of a digit, and mistakes."""

from argparse import Namespace

from xpmlp.cli.models import Trained
from xpmlp.cli.output import Output
from xpmlp.data import NAMES, load
from xpmlp.errors import InvalidValueError, unknown_name
from xpmlp.inspect.plots import Part, mistakes_picture
from xpmlp.storage.paths import expanded
from xpmlp.tutorial import overfitting, pictures
from xpmlp.tutorial.xor import learn

MOST = 50
"""Mistakes in a picture."""


def run(options: Namespace) -> None:
    """Draw all of the tutorial's, or what is asked for.

    Raises
    ------
    InvalidValueError
        For a model where there is nothing to do with it, or no model where there is.
    """
    if options.what not in DRAWN:
        raise unknown_name("pictures", options.what, DRAWN)
    if (options.model is not None) != (options.what == "errors"):
        raise InvalidValueError(
            "pictures: found "
            + ("a model" if options.model else "errors without a model")
            + "; expected xpmlp pictures errors MODEL, and a model only there"
        )
    DRAWN[options.what](options)


def tutorial(options: Namespace) -> None:
    """Draw what the tutorial describes."""
    folder = expanded(options.out, "--out")
    data = load(options.data or "digits", data_dir=options.data_dir)
    pictures.digits_picture(folder / "digits.png", data)
    pictures.activations_picture(folder / "activations.png")
    pictures.network_picture(folder / "network.png", learn(10, backend=options.backend).mlp)
    overfitting.picture(overfitting.three_fits(backend=options.backend), folder / "overfitting.png")
    Output().say(f"saved in {folder}: activations.png, digits.png, network.png, overfitting.png")


def augment(options: Namespace) -> None:
    """Draw variants of a digit."""
    path = expanded(options.out, "--out") / "augment.png"
    data = load(options.data or "digits", data_dir=options.data_dir)
    parts = options.augment or pictures.like_28(data.image_shape or (28, 28))
    pictures.augment_picture(path, data, parts, options.row - 1)
    Output().say(f"saved as {path}")


def errors(options: Namespace) -> None:
    """Draw what a model reads wrongly of the test part that its data have."""
    path = expanded(options.out, "--out") / "errors.png"
    trained = Trained.load(options)
    name = options.data or trained.mlp.metadata.get("data")
    data = load(name if name in NAMES else "digits", data_dir=options.data_dir)
    if data.image_shape is None or data.X.shape[1] != trained.mlp.sizes[0]:
        raise InvalidValueError(
            f"pictures errors: found a model of {trained.mlp.sizes[0]} inputs; expected one of "
            f"the pictures of digits or mnist. --data says which"
        )
    part = Part(data.X_test, data.y_test, "test", trained.classes, data.image_shape)
    count = mistakes_picture(path, trained.mlp, part, MOST)
    wrong = int((trained.mlp.predict(data.X_test) != data.y_test).sum())
    Output().say(f"saved as {path}: {count} of {wrong} mistakes on {len(data.X_test):,} pictures")


DRAWN = {"all": tutorial, "augment": augment, "errors": errors}
