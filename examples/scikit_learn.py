"""In the place of scikit-learn's MLP: a pipeline, a search, validation data, and the way back."""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import xpmlp
from xpmlp.sklearn import MLPClassifier

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, random_state=0)

# As with scikit-learn's own; with backend="cupy" on a GPU.
network = MLPClassifier((64,), early_stopping=True, learning_rate_init=0.005, random_state=0)
search = GridSearchCV(
    make_pipeline(MinMaxScaler(), network),
    {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__dropout": [0.0, 0.2]},
    cv=3,
)
search.fit(X, y)
best = search.best_estimator_
chosen = {name.split("__")[1]: value for name, value in search.best_params_.items()}
print(f"best of the search: {chosen}, test accuracy {search.score(X_test, y_test):.3f}")

# What scikit-learn's does not have: own solvers and rates, and rows of yours to stop by.
own = MLPClassifier(
    (64, 64),
    activation="gelu",
    solver=xpmlp.AdamW(weight_decay=1e-4),
    normalization="layer",
    class_weight="balanced",
    early_stopping=True,
    random_state=0,
)
own.fit(X / 16, y, X_val=X_test / 16, y_val=y_test)
print(f"{own.n_iter_} epochs, best validation score {own.best_validation_score_:.3f}")

# And back: the same predictions without xpmlp.
theirs = best[-1].to_sklearn()
same = (theirs.predict(X_test / 16) == best[-1].predict(X_test / 16)).all()
print(f"{type(theirs).__module__.split('.')[0]}'s own estimator predicts the same: {same}")
