"""Symptoms in the curves, the size of the updates, and the predictions."""

from itertools import pairwise

import numpy as np

from xpmlp.inspect.diagnose.course import Course, Finding, skill

_SLOWER = "Divide the learning rate by 10. At the start, a warm-up or clip_norm=1.0 helps as well."


def large_rate(course: Course) -> Finding | None:
    """Updates that are large compared to the weights, or a loss that does not settle.

    A healthy update is about 1/1000 of the weights (Karpathy, CS231n, "Babysitting").
    """
    evidence = _diverged(course) or _large_updates(course) or _unsettled(course)
    if evidence is None:
        return None
    return Finding("learning rate too large", evidence, _SLOWER, epoch=course.last.epoch)


def _diverged(course: Course) -> str | None:
    if course.diverged is None:
        return None
    return (
        f"The loss or the weights became NaN or infinite in epoch {course.diverged}. Before that, "
        f"one step changed the weights of a layer by {course.last.update:.2g} times their size."
    )


def _large_updates(course: Course) -> str | None:
    update = course.first.update
    if not update > 0.2:  # healthy: at most 0.11; sick: 0.26 to 80000
        return None
    return (
        f"The first step changes the weights of a layer by {update:.2g} times their size; about "
        "0.001 is usual."
    )


def _unsettled(course: Course) -> str | None:
    loss, guess = course.curve("loss"), max(abs(course.facts.loss), 1e-12)
    if len(loss) < 2:
        return None
    rise = sum(max(b - a, 0.0) for a, b in pairwise(loss)) / (len(loss) - 1)
    lost = loss[-1] - min(loss)
    # healthy: a mean rise of at most 0.008 of the constant guess's loss; sick: 0.04
    if not (rise > 0.02 * guess or lost > 0.25 * guess):
        return None
    return (
        f"The training loss does not settle: its increases add up to {rise:.2g} per epoch. Its "
        f"lowest value was {min(loss):.3g}, its last is {loss[-1]:.3g}."
    )


def small_rate(course: Course) -> Finding | None:
    """Updates too small to get anywhere."""
    updates = [seen.update for seen in course.measurements]
    largest = max(updates)
    # healthy: at least 5e-3; sick: 3e-6 to 3e-5
    if not (course.finished and 0 < largest < 1e-4 and course.learned < 0.5):
        return None
    loss = course.curve("loss")
    return Finding(
        "learning rate too small",
        f"No step changed the weights of a layer by more than {largest:.1g} times their size "
        f"(about 0.001 is usual), and the loss only went from {loss[0]:.4g} to {loss[-1]:.4g}.",
        "Multiply the learning rate by 10 to 100.",
        epoch=course.last.epoch,
    )


def overfitting(course: Course) -> Finding | None:
    """Validation much worse than training, and not getting better."""
    train, held = course.curve(course.metric), course.curve(f"val_{course.metric}")
    val_loss = course.curve("val_loss")
    if not held:
        return None
    guess = course.facts.guess
    gap = skill(train[-1], guess) - skill(held[-1], guess)
    risen = val_loss[-1] > 1.05 * min(val_loss)
    if not (gap > 0.3 or (gap > 0.1 and risen)) or course.learned < 0.2:
        return None  # healthy: gaps up to 0.1; sick: 0.19 and more
    best = int(np.argmin(val_loss)) + 1
    return Finding(
        "overfitting",
        f"The {course.metric} is {train[-1]:.3f} on the training data and {held[-1]:.3f} on the "
        f"validation data. The validation loss was lowest after epoch {best} "
        f"({min(val_loss):.3g}); now it is {val_loss[-1]:.3g}.",
        "Get more data, or use a smaller network, dropout=0.5, l2=1e-4, or "
        "xpmlp.EarlyStopping(). If labels are wrong, no network can do better.",
        epoch=best,
    )


def underfitting(course: Course) -> Finding | None:
    """Worse on training rows than their nearest neighbors, or hardly better than a guess."""
    if not course.finished:
        return None
    facts = course.facts
    neighbors = skill(facts.neighbors, facts.shown_guess)
    if not (course.learned < neighbors - 0.1 or course.learned < 0.1):
        return None
    loss = course.curve("loss")
    falling = len(loss) < 5 or loss[-1] < loss[-len(loss) // 5] - 0.02 * abs(loss[0])
    change = (
        "The loss is still falling: train for more epochs, or raise the learning rate."
        if falling
        else "The loss is flat: use more or wider hidden layers, or less dropout, l1 and l2. If "
        "that changes nothing, the inputs may not determine the targets."
    )
    return Finding(
        "underfitting",
        f"The {course.metric} is {course.last.score:.3f} on {sum(facts.shown) or 'some'} training "
        f"rows. Predicting each row from its nearest neighbors gives {facts.neighbors:.3f}, a "
        f"constant guess {facts.shown_guess:.3f}.",
        change,
        epoch=course.last.epoch,
    )


def imbalance(course: Course) -> Finding | None:
    """A class that is rare in the training data, and seldom recognized."""
    change = (
        "Weight the rows (sample_weight = 1/frequency of the row's class), and judge each class "
        "by its own accuracy, not by the overall accuracy."
    )
    return _missed(course, "class imbalance", change, share=0.5, rare=True)


def never_predicted(course: Course) -> Finding | None:
    """A class that is in the training data but that the network never predicts."""
    change = (
        "Train longer, or use a larger network. Look at the rows of that class: are their labels "
        "right?"
    )
    return _missed(course, "class never predicted", change, share=0.01, rare=False)


def _missed(course: Course, name: str, change: str, share: float, rare: bool) -> Finding | None:
    """Find the rarest class predicted less than ``share`` of the times it is in the probe."""
    facts, predicted = course.facts, course.last.predicted
    if not course.finished or not predicted or course.last.epoch == 0:
        return None
    few = 0.1 * max(facts.counts)  # healthy: classes of 1 to 4; sick: 1 to 33 and 1 to 92
    missed = [
        c
        for c, count in enumerate(facts.counts)
        if predicted[c] < share * facts.shown[c] and (count < few) == rare
    ]
    if not missed:
        return None
    c = min(missed, key=lambda c: facts.counts[c])
    known, rows = course.class_name(c), f"{facts.counts[c]} of {sum(facts.counts)} training rows"
    evidence = (
        f"Class {known} has {rows}. In a sample with "
        f"{facts.shown[c]} of its rows among {sum(facts.shown)}, {predicted[c]} are predicted as "
        f"class {known}."
    )
    return Finding(name, evidence, change, epoch=course.last.epoch)
