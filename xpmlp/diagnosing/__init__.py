"""Symptoms of a training that goes wrong: what is measured, and what it means."""
