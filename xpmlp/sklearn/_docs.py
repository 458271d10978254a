"""Documentation that the docstrings of several estimators contain."""

from inspect import cleandoc
from typing import TypeVar

T = TypeVar("T")

FROM_SKLEARN = """\
hidden_layer_sizes : sequence of int, or int
    Units of each hidden layer.
activation : str, (f, derivative), Activation, or list of them
    Activation of the hidden layers: "identity", "logistic", "tanh", "relu", or another name in
    ``xpmlp.activations``, such as "gelu". A list has one for each layer.
solver : {"adam", "sgd", "lbfgs"}, another name in ``xpmlp.optimizers``, or Optimizer
    "adamw", "rmsprop" and others use ``learning_rate_init``. An object, such as
    ``xpmlp.AdamW(1e-3, clip_norm=1.0)``, has all its settings.
alpha : float
    L2 penalty ½ alpha ΣW², added to the sum of a batch's losses before the division by the number
    of rows, or by the sum of their weights.
batch_size : int or "auto"
    "auto" is min(200, n).
learning_rate : {"constant", "invscaling", "adaptive"} or Schedule
    The names apply to "sgd" only. An object, such as ``xpmlp.schedules.Cosine(1e-3)``, replaces
    ``learning_rate_init``, for every solver but "lbfgs".
learning_rate_init : float
    Initial learning rate.
power_t : float
    Exponent of "invscaling".
max_iter : int
    Maximum number of epochs, or of iterations with "lbfgs".
shuffle : bool
    Whether each epoch takes the rows in a new order.
random_state : int, RandomState or None
    Random numbers for the weights, the order of the rows and the validation split; the same numbers
    as in scikit-learn.
tol : float
    Minimum improvement of the loss, or with ``early_stopping`` of the validation score.
verbose : bool or int
    Whether to print each epoch's loss and score.
warm_start : bool
    Whether ``fit`` continues from the current weights.
momentum : float
    Momentum of "sgd".
nesterovs_momentum : bool
    Whether it is Nesterov's momentum.
early_stopping : bool
    Whether to stop when the validation score has not improved for ``n_iter_no_change`` epochs, and
    to return to the best weights. Validation data are ``X_val`` of ``fit``, or split off.
validation_fraction : float
    Share of the rows to split off for validation.
beta_1, beta_2, epsilon : float
    Settings of "adam".
n_iter_no_change : int or inf
    Epochs without improvement before training stops.
max_fun : int
    Maximum number of function evaluations of "lbfgs"."""

ADDITIONAL = """\
l1 : float
    L1 penalty l1 Σ|W|, divided as ``alpha`` is.
max_norm : float, optional
    Largest Euclidean norm of a unit's incoming weights.
dropout : float, Schedule, or list of them
    Dropout rate of the hidden layers, or of each.
input_dropout : float or Schedule
    Dropout rate of the inputs.
normalization : {"layer", "batch"} or callable, optional
    Normalization between each hidden dense layer and its activation.
residual : bool
    Whether hidden layers with as many outputs as inputs add their input to their output.
bias : bool
    Whether layers add a bias.
initializer : str or callable (rng, n_in, n_out) -> ndarray, optional
    First weights, as in ``xpmlp.MLP``: "auto", "he", "data". By default scikit-learn's, with its
    random numbers.
scaling : {"standard", "robust", "auto"}, optional
    Scaling of inputs, and of a regressor's targets, by the first training data, as in
    ``xpmlp.MLP``: "standard" takes the place of a ``StandardScaler`` in front. By default none.
dtype : {"float32", "float64"}, optional
    Dtype to compute in; by default that of X. Integers of 8 and 16 bits are computed in float32,
    which represents them exactly, and other integers in float64.
precision : {"float32", "tf32", "bf16"}
    Precision of a GPU's matrix products.
backend : str or Backend, optional
    "numpy", "cupy", "torch", "jax", "dpnp", "auto". By default that of X; if NumPy can read X, that
    of the environment variable ``XPMLP_BACKEND``, or NumPy.
device : str, optional
    The library's name of a device: "cuda:1".
table : Table or "auto", optional
    Turns the columns of a data frame, or of an array of objects, into inputs: categories, dates,
    and missing values, too. It scales the numbers.
callbacks : sequence of Callback, optional
    xpmlp's callbacks, such as ``xpmlp.SaveModel("best.xpmlp")``, for all solvers but "lbfgs". Pass
    those of scikit-learn 1.9 to ``set_callbacks``."""

ATTRIBUTES = """\
coefs_, intercepts_ : list of array
    Weights, shape (inputs, outputs), and biases of each layer, in the library of X. Assigning to
    an item changes the network; so does writing to an array, unless it is read-only.
loss_ : float
    Loss of the last epoch.
loss_curve_ : list of float
    Loss of each epoch. "lbfgs" has neither this nor the next three.
best_loss_ : float or None
    None with ``early_stopping``, without which the next two are None.
validation_scores_ : list of float or None
best_validation_score_ : float or None
history_ : History
    For each epoch loss, learning rate and seconds, and with validation data ``val_loss``,
    ``val_score`` and xpmlp's metric.
converged_ : bool
    Whether a stopping rule has ended training, or would have in ``partial_fit``.
table_ : xpmlp.Table
    With ``table``: what the columns were found to be. ``n_features_in_`` counts its inputs.
mlp_ : xpmlp.MLP
    The network: ``mlp_.save(path)``, ``xpmlp.explain(mlp_, X, y)``.
n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
    As in scikit-learn."""


TABULAR = """\
recipe : {"best", "fast"}
    RealMLP's settings (Holzmüller et al. 2024). "best" embeds numbers and categories, and has
    dropout and weight decay; "fast" is half the work, and almost as good.
ensemble : int, optional
    So many networks in each one, whose predictions are averaged. They share all but a factor of
    each input, as in TabM-mini (Gorishniy et al. 2025): better predictions, for up to so many times
    the work.
n_cv : int
    With more than 1, so many networks, each trained without one of as many folds, which chooses
    its epoch. Predictions are their mean.
validation_fraction : float
    Share of the rows that choose the epoch, and are not trained on, if ``n_cv`` is 1. With 0 the
    weights of the last epoch stay.
metric : str, optional
    What the best epoch is chosen by: a name in ``xpmlp.metrics.MEASURES``, such as "log_loss",
    "auc" or "f1" for classes, "mae" or "r2" for values; by default "accuracy", or "rmse". Labels
    are not smoothed with "log_loss" and "auc".
patience : int, optional
    Epochs without improvement before training stops; by default it does not. The learning rate
    rises and falls four times, so a small number stops in a valley.
hidden : sequence of int, optional
    Units of the hidden layers; by default three of 256.
epochs : int, optional
    By default 256.
learning_rate : float, optional
    The highest; by default the recipe's.
table : Table, optional
    Its lists ``categorical``, ``numeric`` and ``drop`` of columns count; scaling is the recipe's.
dtype : {"float32", "float64"}
backend : str or Backend, optional
    "numpy", "cupy", "torch", "jax", "dpnp", "auto". By default that of the environment variable
    ``XPMLP_BACKEND``, or NumPy.
device : str, optional
    The library's name of a device: "cuda:1".
random_state : int, RandomState or None
    Random numbers for the validation rows, the weights, the order of the rows and dropout.
verbose : bool or int
    Whether to print the loss of 16 epochs, or of so many."""

FITTED = """\
members_ : list of xpmlp.MLP
    The networks, one for each fold: ``members_[0].save(path)``. Each has its ``table``.
history_ : list of History
    Of each: loss, learning rate and seconds of each epoch, and ``val_<metric>``.
n_features_in_, feature_names_in_
    As in scikit-learn."""


def documented(cls: type[T]) -> type[T]:
    """Fill in the parameters and attributes that both estimators have."""
    if cls.__doc__ is not None:  # as it is under python -OO
        shared = {"from_sklearn": FROM_SKLEARN, "additional": ADDITIONAL, "attributes": ATTRIBUTES}
        shared |= {"tabular": TABULAR, "fitted": FITTED}
        cls.__doc__ = cleandoc(cls.__doc__) % shared
    return cls
