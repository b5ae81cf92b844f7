"""The description of a model folder."""
