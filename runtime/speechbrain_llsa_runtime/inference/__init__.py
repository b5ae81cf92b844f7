"""Sessions, and exported models."""
