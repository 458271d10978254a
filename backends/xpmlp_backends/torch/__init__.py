"""PyTorch on a CPU or a GPU."""
