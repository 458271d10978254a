"""The model without its training: network, weights, task, scaling, predictions, files."""
