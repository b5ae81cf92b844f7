"""Training: the Brain of the recipes, its data, arguments and checkpoints."""
