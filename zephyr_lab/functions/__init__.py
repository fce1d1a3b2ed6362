"""Ordinary Python functions as sessions: what `Lab.explore` explores."""
