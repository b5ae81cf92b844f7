"""Whole files, errors in one line, precision, ranks: what all use."""
