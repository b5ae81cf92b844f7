"""Entries that make the model of a recipe tiny."""

MODEL = {
    "num_layers": 1,
    "embedding_dim": 16,
    "nhead": 2,
    "d_ffn": 32,
    "extractor_channels": "[8, 8, 8, 8, 8, 8, 8]",
    "extractor_dim": 8,
}
