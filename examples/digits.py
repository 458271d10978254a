"""Read handwritten digits: train, stop early, save, and load on another backend."""

import xpmlp

data = xpmlp.data.load("digits")
mlp = xpmlp.MLP([64, 128, 10], dropout=0.2, backend="auto", seed=0)
print(mlp.summary())

history = mlp.fit(
    data.X,
    data.y,
    epochs=100,
    batch_size=64,
    optimizer=xpmlp.Adam(xpmlp.schedules.Cosine(3e-3)),
    validation_split=0.1,
    callbacks=[xpmlp.EarlyStopping(patience=15)],
)
print(f"{len(history['loss'])} epochs, validation accuracy {max(history['val_accuracy']):.3f}")

mlp.save("digits.xpmlp")
loaded = xpmlp.load("digits.xpmlp", backend="numpy")
print("test:", loaded.evaluate(data.X_test, data.y_test))
print("first five:", loaded.predict(data.X_test[:5]), "are", data.y_test[:5])
