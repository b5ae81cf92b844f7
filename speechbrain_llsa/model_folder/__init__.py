"""Writing, validating and loading folders of trained models."""
