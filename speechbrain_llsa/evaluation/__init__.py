"""How well and how fast a model hears: error rates, delays, cost."""
