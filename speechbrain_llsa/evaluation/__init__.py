"""Evaluation of recognition models: error rates, delays, time and memory."""
