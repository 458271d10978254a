"""MNIST on whatever this machine has: the first 10,000 digits, 5 epochs, a few seconds.

The data are downloaded once, or read from the folder in XPMLP_DATA_DIR.
"""

import xpmlp

data = xpmlp.data.load("mnist")
X, y = data.X[:10_000], data.y[:10_000]

mlp = xpmlp.MLP([784, 128, 10], dropout=0.2, backend="auto", seed=0)
print(mlp)
history = mlp.fit(X, y, epochs=5, batch_size=128, validation_data=(data.X_test, data.y_test))
for epoch, (loss, accuracy) in enumerate(
    zip(history["loss"], history["val_accuracy"], strict=True), start=1
):
    print(f"epoch {epoch}: training loss {loss:.3f}, test accuracy {accuracy:.2%}")

chances = mlp.predict_proba(data.X_test[:5])
for true, row in zip(data.y_test[:5], chances, strict=True):
    print(f"a {true}, read as {row.argmax()} with {row.max():.1%}")
