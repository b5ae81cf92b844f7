"""Folders of trained models: written, checked and loaded."""
