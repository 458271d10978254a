"""How fast, and how well, a plain network learns MNIST: a record that is kept."""

from benchmarks.mnist.run import main as main
