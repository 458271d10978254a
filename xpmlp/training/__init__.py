"""The training loop: from the data of ``fit`` to a history."""
