"""The mathematics, written in the array API standard.

Only `random`, `initializers` and `parameters`, which run on the host, import NumPy; nothing here
imports another array library.
"""
