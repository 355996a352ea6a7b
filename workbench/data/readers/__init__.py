"""Readers of the published data sets, one a file."""
