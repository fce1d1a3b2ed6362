"""A shop with planted races, and the same shop without them, in Python and in Node."""
