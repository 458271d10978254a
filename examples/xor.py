"""XOR with 3, 10 and 50 hidden neurons: what a hidden layer is for."""

import xpmlp

data = xpmlp.data.load("xor")
print(f"{len(data.X)} points to learn from, {len(data.X_test)} fresh ones")

for hidden in (3, 10, 50):
    mlp = xpmlp.MLP([2, hidden, 2], backend="auto", seed=0)
    history = mlp.fit(
        data.X,
        data.y,
        epochs=100,
        batch_size=16,
        optimizer=xpmlp.Adam(xpmlp.schedules.Cosine(0.02)),
    )
    fresh = mlp.evaluate(data.X_test, data.y_test)
    print(
        f"{hidden:>2} hidden neurons: loss {history['loss'][0]:.3f} -> {history['loss'][-1]:.3f}, "
        f"accuracy on fresh points {fresh['accuracy']:.1%}"
    )

# A straight line cannot do it: without a hidden layer the network does little but guess.
line = xpmlp.MLP([2, 2], seed=0)
line.fit(data.X, data.y, epochs=100, batch_size=16)
print(f"no hidden layer: {line.evaluate(data.X_test, data.y_test)['accuracy']:.1%}")
