"""Scores of sets of predictions: every metric with its uncertainty, control rows, and their cache."""
