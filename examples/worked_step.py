"""One training step with every number: the worked step of the lecture slides."""

from xpmlp.inspect.explain import explain, worked_step

mlp, X, y, optimizer = worked_step(backend="numpy")
step = explain(mlp, X, y, optimizer)
print(step.text())
