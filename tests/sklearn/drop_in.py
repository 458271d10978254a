"""A pytest plugin: scikit-learn's own tests of its MLP meet ours instead.

``python -m pytest -p drop_in --pyargs sklearn.neural_network``
"""

import sklearn.neural_network

from xpmlp.sklearn import MLPClassifier, MLPRegressor

sklearn.neural_network.MLPClassifier = MLPClassifier
sklearn.neural_network.MLPRegressor = MLPRegressor
