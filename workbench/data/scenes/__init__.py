"""Crowd scenes made from a seed: their layout, ground, sprites and painting."""
