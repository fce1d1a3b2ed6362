"""The order and slot service of the write-up: ordinary code that takes connections, to be explored, loaded and served.

It imports nothing of the lab but its errors and the path of its files.
"""
