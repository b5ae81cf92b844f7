"""A server for live speech recognition. Needs the extra ``server``."""
