"""Schedules: what is to be run, the runner that makes it happen on a real server, and the record of what happened."""
