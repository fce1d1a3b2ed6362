"""Strategies that only the load uses: to be measured beside the service's own, or to be found out as wrong."""
