"""Histories of transactions: which isolation level one satisfies, and the cycle that proves that it does not."""
