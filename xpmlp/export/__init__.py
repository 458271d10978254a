"""Trained models for other tools: ONNX, PyTorch, JAX, a file of Python, a header of C."""
