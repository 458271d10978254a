"""``Exportable``: the methods by which a model leaves for other tools, and comes from PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from xpmlp.model.uncertainty import Uncertain
from xpmlp.nn.contract import Array


class Exportable(Uncertain):
    """A model that can be written in other forms. Each is imported when it is used."""

    def to_onnx(self, path: Any) -> None:
        """Write the model as ONNX, for onnxruntime and others; needs the extra ``onnx``.

        The file has everything from raw inputs to predictions: scaling, a ``table``, all networks
        of an ensemble, the temperature of a calibration. The number of rows is free.

        ===================  ===================================================================
        name                 what it is
        ===================  ===================================================================
        ``X``                input, shape (rows, sizes[0]), in the model's dtype; uint8 if it was
                             fitted on uint8 pixels
        each column's name   the inputs of a model with a table, shape (rows, 1): float64 with NaN
                             for numbers, text without spaces around it for categories
        ``label``            output of a classifier, shape (rows,): int64, or text if
                             ``metadata["classes"]`` has the names; of several labels 0 and 1,
                             shape (rows, labels)
        ``probabilities``    output of a classifier, what ``predict_proba`` returns
        ``values``           output of a model of values, shape (rows, targets)
        ``deviations``       output with ``loss="gaussian"``: standard deviations, of that shape
        ``quantiles``        output with ``Quantiles``, shape (rows, quantiles, targets)
        ===================  ===================================================================

        The operators are those of version 21 (and 5 of ``ai.onnx.ml``, for tables). The metadata
        have the kind of targets and the loss.

        Parameters
        ----------
        path : path-like
            Missing folders are made.

        Raises
        ------
        InvalidValueError
            If the model has not been trained, or its table has a column of dates, which ONNX
            cannot read; the message names it.
        MissingExtraError
            If ndonnx is not installed.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> data = xpmlp.data.load("xor")
        >>> mlp = xpmlp.MLP([2, 16, 2], backend="numpy", seed=0)
        >>> history = mlp.fit(data.X, data.y)
        >>> mlp.to_onnx("model.onnx")
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession("model.onnx")
        >>> label, probabilities = session.run(None, {"X": data.X_test.astype("float32")})
        >>> bool((label == mlp.predict(data.X_test.astype("float32"))).all())
        True
        """
        from xpmlp.export import onnx

        onnx.write(self, path)

    def to_torch(self, outputs: str = "predictions", *, copy: bool = True) -> Any:
        """Return the network as a ``torch.nn.Sequential``, on the CPU and in mode ``eval()``.

        PyTorch's modules are used where it has one (``Linear``, activations, ``BatchNorm1d``,
        ``LayerNorm``, ``Dropout``), and ours from ``xpmlp_backends.torch.modules`` for the rest:
        scaling, residual connections, learned scales. Weights are turned, as ``Linear`` has them.
        A model with a ``table`` takes what ``table.transform`` returns.

        Parameters
        ----------
        outputs : {"predictions", "logits"}
            Probabilities, as ``predict_proba`` returns them, or values, shape (n, targets); or
            logits, for PyTorch's ``CrossEntropyLoss``, without the temperature of a calibration.
        copy : bool
            False lets the modules use the model's own memory, on the backends "torch", "numpy" and
            "cupy": training them trains the model, until it is fitted or loaded anew. Weights in
            NTK parametrization are multiplied, and so copied, in any case.

        Returns
        -------
        torch.nn.Sequential

        Raises
        ------
        InvalidValueError
            For an ensemble (pass ``mlp.member(i)``), an embedding, or a custom activation or layer;
            for other ``outputs``; and if the memory cannot be shared.
        MissingExtraError
            If PyTorch is not installed.

        Examples
        --------
        >>> import torch
        >>> mlp = xpmlp.MLP([2, 8, 3], targets="labels", backend="numpy")
        >>> mlp.to_torch("logits")
        Sequential(
          (0): Linear(in_features=2, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=3, bias=True)
        )
        """
        from xpmlp.export import torch

        return torch.convert(self, outputs, copy)

    @classmethod
    def from_torch(cls, network: Any, **arguments: Any) -> Self:
        """Return a model with the layers and weights of a ``torch.nn.Sequential``.

        Each hidden layer is ``Linear``, then, as far as they are there and in this order, one of
        ``BatchNorm1d`` and ``LayerNorm`` (the same in all hidden layers), an activation and
        ``Dropout``. A ``Flatten`` before them is left out. A ``Softmax`` at the end makes a model
        for class indices, a ``Sigmoid`` one for 0/1: the loss applies them. Without either, pass
        ``targets``, or fit the model.

        Parameters
        ----------
        network : torch.nn.Sequential
        **arguments
            Other arguments of ``MLP``: ``backend="numpy"``, ``targets="labels"``.

        Returns
        -------
        MLP
            With copies of the weights, in their dtype.

        Raises
        ------
        InvalidValueError
            For another module, which is named, or another order.
        InvalidTypeError
            For anything but a Sequential, and for weights in other than float32 and float64.
        MissingExtraError
            If PyTorch is not installed.

        Examples
        --------
        >>> import torch
        >>> layers = torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
        >>> network = torch.nn.Sequential(*layers)
        >>> mlp = xpmlp.MLP.from_torch(network, targets="labels", backend="numpy")
        >>> mlp.sizes, mlp.predict_proba([[0.5, 1.0]]).shape
        ((2, 8, 3), (1, 3))
        """
        from xpmlp.export import torch

        return torch.read(cls, network, arguments)

    def to_jax(
        self, outputs: str = "predictions"
    ) -> tuple[Callable[[Mapping[str, Array], Array], Array], dict[str, Array]]:
        """Return the network as a pure function of JAX, and its parameters.

        ``function(parameters, X)`` takes raw inputs of shape (n, sizes[0]), or one row of shape
        (sizes[0],). It has all of the model but a ``table``, and depends on nothing that changes:
        ``jax.jit``, ``jax.grad`` and ``jax.vmap`` work on it. A model with a table takes what
        ``table.transform`` returns.

        Parameters
        ----------
        outputs : {"predictions", "logits"}
            As for ``to_torch``.

        Returns
        -------
        function : callable (parameters, X) -> Array, shape (n, outputs), or (outputs,) of one row
        parameters : dict of str to Array
            Copies, with the names in ``mlp.parameters``.

        Raises
        ------
        InvalidValueError
            For other ``outputs``, and for a model that has not been trained.
        BackendError
            If JAX is not installed, or has no float64 for a model that does.

        Examples
        --------
        >>> import jax
        >>> mlp = xpmlp.MLP([2, 8, 3], targets="labels", backend="numpy", seed=0)
        >>> function, parameters = mlp.to_jax()
        >>> jax.jit(function)(parameters, np.ones((5, 2))).shape
        (5, 3)
        >>> gradient = jax.grad(lambda p, x: function(p, x)[0])(parameters, np.ones(2))
        >>> gradient["dense1.W"].shape
        (2, 8)
        """
        from xpmlp.export import jax

        return jax.convert(self, outputs)

    def to_python(self, path: Any) -> None:
        """Write the model as one Python file that needs the standard library alone.

        The file has ``predict(rows)`` and, for classes, ``predict_proba(rows)``, in lists. A row is
        a list of numbers or, of a model with a ``table``, a dict of cells by the name of their
        column. ``python model.py < rows.csv`` predicts the rows of a CSV file. Numbers are
        computed in double precision. It is for places where nothing can be installed, and for few
        rows: NumPy is much faster. With ``loss="gaussian"`` and ``Quantiles`` it predicts values
        alone, as ``predict`` does.

        Numbers of a table may be numbers or texts that Python reads as such; amounts of money,
        groups of thousands and shares are not read.

        Parameters
        ----------
        path : path-like
            Missing folders are made.

        Raises
        ------
        InvalidValueError
            If the model has not been trained; for a custom function that cannot be written down;
            for a table with a column of dates, which is named.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 3], targets="labels", backend="numpy", seed=0)
        >>> mlp.to_python("model.py")
        >>> import runpy
        >>> model = runpy.run_path("model.py")
        >>> model["predict"]([[0.5, 1.0]]) == mlp.predict([[0.5, 1.0]]).tolist()
        True
        """
        from xpmlp.export import python

        python.write(self, path)

    def to_c(self, path: Any, *, name: str | None = None) -> None:
        """Write the model as a header of C99 that needs ``math.h`` alone and allocates nothing.

        ``model_predict(x, out)`` makes the predictions of one row: probabilities or values, as
        ``predict`` returns them, as many as ``model_outputs``. ``model_label(x)`` is the class of
        the largest probability, and ``model_classes`` has the names in ``metadata["classes"]``.
        Floats are written with all their digits. Intermediate results are on the stack.

        Parameters
        ----------
        path : path-like
            Missing folders are made.
        name : str, optional
            What all names begin with; by default the name of the file.

        Raises
        ------
        InvalidValueError
            If the model has not been trained, or has a table, which reads text; for a custom
            function that cannot be written down; for a name that C does not take.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 3], targets="labels", backend="numpy", seed=0)
        >>> mlp.to_c("model.h")
        >>> with open("model.h") as file:
        ...     text = file.read()
        >>> "static inline void model_predict(const float *x, float *out)" in text
        True
        """
        from xpmlp.export import c

        c.write(self, path, name)
