"""Evaluation: how anonymous the output is, and what it is still good for."""
