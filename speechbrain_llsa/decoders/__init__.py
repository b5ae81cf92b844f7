"""From log-probabilities to labels: greedy and beam search."""
