"""Checks of a data set's files, and their report."""
