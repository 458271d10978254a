"""Tools that look into a network or a training run: explain, diagnose, verify, plots."""
