"""From log-probabilities to labels: greedy search."""
