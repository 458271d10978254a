"""What people pass in: arrays of any library, sparse matrices, lists. Checked once, here."""
