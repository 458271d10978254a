"""A pytest plugin: scikit-learn's own tests of its MLP meet ours instead.

``python -m pytest -p estimators.in_the_place_of_scikit_learns --pyargs sklearn.neural_network``
"""

import sklearn.neural_network

from xpmlp.sklearn import MLPClassifier, MLPRegressor

sklearn.neural_network.MLPClassifier = MLPClassifier
sklearn.neural_network.MLPRegressor = MLPRegressor
