"""Figures, one theme a file."""
