"""Float32 as it is, ranks, text: what all use."""
