"""Atomic files, checks, error messages and the like: what all use."""
