"""Shared helpers: atomic files, argument checks, error messages and others."""
