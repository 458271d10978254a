"""The stories of the four texts that xpmlp comes from, each as settings to run and look at."""

from dataclasses import dataclass
from typing import Any

from xpmlp.nn.schedules import InverseTime
from xpmlp.play.settings import Settings
from xpmlp.tutorial import exploding
from xpmlp.tutorial.exploding import BASE, REMEDIES, Trial


@dataclass(frozen=True)
class Story:
    """A run that shows one thing.

    Attributes
    ----------
    name, title : str
        For the address, and for the button.
    text : str
        What happens, in two sentences.
    look : str
        What to look at.
    settings : dict
        What differs from the defaults.
    group : str
        Stories to be shown together.
    """

    name: str
    title: str
    text: str
    look: str
    settings: dict[str, Any]
    group: str

    def as_json(self) -> dict[str, Any]:
        """Return it for the page, with all settings."""
        full = Settings.checked(self.settings | {"story": self.name}).as_json()
        return {**vars(self), "settings": full}


def _explosion(trial: Trial) -> dict[str, Any]:
    """Return the settings of a trial of ``xpmlp xor --scenario exploding``."""
    rate = trial.optimizer.learning_rate
    falls = isinstance(rate, InverseTime)
    return {
        "data": "xor",
        "points": 600,
        "test_share": 0.5,
        "seed": 21,
        "hidden": list(trial.hidden),
        "activation": "tanh",
        "loss": "mse",
        "optimizer": "sgd",
        "learning_rate": rate.rate if isinstance(rate, InverseTime) else rate,
        "schedule": "inverse-time" if falls else "constant",
        "clip_norm": trial.optimizer.clip_norm,
        "batch_size": trial.batch_size,
        "epochs": exploding.EPOCHS,
        "pace": 1,
        **trial.network,
    }


def _remedy(number: int, trial: Trial) -> Story:
    return Story(
        f"remedy-{number}",
        trial.name[0].upper() + trial.name[1:],
        f"The run that explodes, with one thing changed: {trial.name} ({trial.change}).",
        "Compare the loss and the gradients with the run that explodes: did it stay finite, and "
        "did it learn?",
        _explosion(trial),
        "explosion",
    )


_NEURONS = {"data": "xor", "activation": "sigmoid", "learning_rate": 0.02, "epochs": 600}
_RATES = {"data": "xor", "hidden": [8], "optimizer": "sgd", "epochs": 200, "pace": 30}
_SLIP = {
    "data": "xor",
    "hidden": [50],
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "l2": 0.001,
    "epochs": 300,
    "pace": 20,
}

STORIES = (
    Story(
        "three-neurons",
        "Three neurons are too few",
        "XOR has four corners. Three sigmoids draw too few lines to part them: about one point of "
        "six stays on the wrong side, however long the network trains.",
        "The boundary: one corner never gets its color.",
        _NEURONS | {"hidden": [3]},
        "size",
    ),
    Story(
        "fifty-neurons",
        "Fifty neurons",
        "The same with fifty neurons: more lines than it needs, and the corners are parted.",
        "The boundary bends around all four corners, and the test loss falls with the other.",
        _NEURONS | {"hidden": [50]},
        "size",
    ),
    Story(
        "explosion",
        "The explosion",
        "The learning rate is too large for this network: each step overshoots, larger weights "
        "make a larger gradient, and that makes a larger step. The loss overflows in an epoch.",
        "The gradients: their powers of ten wander to the right, then the run stops.",
        _explosion(BASE),
        "explosion",
    ),
    *(_remedy(number, trial) for number, trial in enumerate(REMEDIES, start=1)),
    Story(
        "slip",
        "The original's mistake",
        "The script that this tutorial comes from adds the sum of all squared weights to the "
        "gradient of every weight, where the L2 penalty has λ times the weight itself. All weights "
        "are pushed in one direction, until the loss overflows.",
        "The loss falls at first. The weights all turn to one color, and then it explodes.",
        _SLIP | {"slip": True},
        "slip",
    ),
    Story(
        "no-slip",
        "The right L2 gradient",
        "The same network, data and rate, with the right gradient: nothing explodes. So it was no "
        "exploding gradient, but a mistake in one line.",
        "The weights stay small, and the boundary settles.",
        _SLIP,
        "slip",
    ),
    Story(
        "rate-too-small",
        "A rate too small",
        "Each step changes the weights by a few millionths: after 200 epochs the network is where "
        "it began.",
        "The loss: a level line. The diagnosis says how much larger the rate may be.",
        _RATES | {"learning_rate": 1e-4},
        "rate",
    ),
    Story(
        "rate-right",
        "A rate that fits",
        "The same with a rate 5,000 times as large: the loss falls fast, and settles.",
        "The loss falls at once, and both curves stay together.",
        _RATES | {"learning_rate": 0.5},
        "rate",
    ),
    Story(
        "rate-too-large",
        "A rate too large",
        "The steps jump over the valley: the loss goes up and down and does not settle.",
        "The loss is jagged, and the boundary jumps from frame to frame.",
        _RATES | {"learning_rate": 30.0},
        "rate",
    ),
    Story(
        "dead-relus",
        "Dead ReLUs",
        "One step too large puts the sums of most units below 0 for every point. There the ReLU's "
        "derivative is 0, so no gradient reaches them: they never come back.",
        "The units' pictures turn into one even color, and the gradients of their layer vanish.",
        {
            "data": "circles",
            "hidden": [10],
            "activation": "relu",
            "optimizer": "sgd",
            "learning_rate": 1.0,
            "loss": "mse",
            "epochs": 100,
            "pace": 10,
        },
        "rate",
    ),
    Story(
        "underfitting",
        "Under-fitting",
        "Two neurons for two spirals: the network cannot bend its boundary often enough, and is "
        "wrong on the training points, too.",
        "Both losses stay high and close together.",
        {"data": "spirals", "hidden": [2], "epochs": 300},
        "fit",
    ),
    Story(
        "overfitting",
        "Over-fitting",
        "A thousand weights for 20 noisy points: the network learns each by heart, noise included.",
        "The training loss goes to 0 while the test loss rises; the boundary has islands.",
        {
            "data": "moons",
            "points": 40,
            "noise": 0.5,
            "test_share": 0.5,
            "hidden": [32, 32],
            "epochs": 400,
        },
        "fit",
    ),
)
"""All stories, in the order of the texts."""
