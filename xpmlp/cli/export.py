"""``xpmlp export``: a trained model as ONNX, a file of Python, or a header of C."""

from argparse import Namespace

from xpmlp.cli.models import Trained
from xpmlp.errors import InvalidValueError
from xpmlp.storage.paths import expanded

FORMS = {".onnx": "ONNX", ".py": "Python", ".h": "C"}
"""What is written, by suffix."""


def run(options: Namespace) -> None:
    """Write the model in the form that the file's suffix names.

    Raises
    ------
    InvalidValueError
        For another suffix, and for a model that the form cannot have.
    CheckpointError
        If the model's file is broken.
    """
    path = expanded(options.file, "FILE")
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise InvalidValueError(
            f"FILE: found {options.file}; expected a name that ends in {', '.join(FORMS)}"
        )
    if options.name is not None and form != "C":
        raise InvalidValueError(f"--name: found it for {path.name}; only C has such names")
    mlp = Trained.load(options).mlp
    if form == "ONNX":
        mlp.to_onnx(path)
    elif form == "Python":
        mlp.to_python(path)
    else:
        mlp.to_c(path, name=options.name)
    print(f"model in {path}, as {form}")
