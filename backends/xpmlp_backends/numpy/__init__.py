"""NumPy on the CPU, with loops compiled by numba where it is installed."""
