"""How a training's figures are written for people."""


def percent(share: float) -> str:
    """Format a share: ``"97.77 %"``."""
    return f"{100 * share:.2f} %"


def score(name: str, value: float) -> str:
    """Format a metric by its name: accuracy in per cent, R² as a number."""
    return percent(value) if name == "accuracy" else f"{value:.4f}"


def number(value: float) -> str:
    """Format a loss in at most nine characters."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.3e}"
