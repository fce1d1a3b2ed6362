"""Which orders to run, and what their outcomes mean."""
