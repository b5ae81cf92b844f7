"""From labels to words, segments and subtitles. No PyTorch."""
