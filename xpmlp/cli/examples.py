"""The examples that each command's help ends with."""

EXAMPLES = {
    "": (
        "xpmlp train digits",
        "xpmlp predict runs/digits photo.png",
        "xpmlp explain --out step.html",
    ),
    "train": (
        "xpmlp train",
        "xpmlp train iris.csv --label species",
        "xpmlp train mnist --early-stopping 5",
    ),
    "evaluate": (
        "xpmlp evaluate runs/digits digits",
        "xpmlp evaluate runs/iris iris.csv",
        "xpmlp evaluate runs/digits digits --json -",
    ),
    "predict": (
        "xpmlp predict runs/digits photo.png --show",
        "xpmlp predict runs/digits digits --limit 5",
        "xpmlp predict runs/iris new.csv --out out.csv",
    ),
    "info": (
        "xpmlp info",
        "xpmlp info --measure",
        "xpmlp info --json -",
    ),
    "explain": (
        "xpmlp explain",
        "xpmlp explain --out step.html",
        "xpmlp explain runs/digits digits --row 3",
    ),
    "export": (
        "xpmlp export runs/digits digits.onnx",
        "xpmlp export runs/digits digits.py",
        "xpmlp export runs/digits digits.h",
    ),
    "verify": (
        "xpmlp verify",
        "xpmlp verify --backends numpy torch",
        "xpmlp verify --data xor --steps 1000",
    ),
    "xor": (
        "xpmlp xor --gif",
        "xpmlp xor --hidden 2 3 10",
        "xpmlp xor --scenario exploding",
    ),
    "pictures": (
        "xpmlp pictures",
        "xpmlp pictures augment --data mnist",
        "xpmlp pictures errors runs/mnist",
    ),
    "play": (
        "xpmlp play",
        "xpmlp play --port 8000",
        "xpmlp play --no-browser",
    ),
    "card": (
        "xpmlp card runs/digits",
        "xpmlp card runs/digits --title Digits",
        "xpmlp card model.xpmlp --out README.md",
    ),
    "completion": (
        "xpmlp completion bash",
        "xpmlp completion zsh",
        "xpmlp completion tcsh",
    ),
}
"""Three for each command, and three to start with; short, so that they fit a narrow terminal."""
