"""What the CuPy and PyTorch backends share on an NVIDIA GPU: CUDA graphs and uploads."""
