"""The small shop in Node: its requests, and the races among them."""

from __future__ import annotations

from typing import Any

from tests.hunt.planted.models import SCHEMA

SETUP = f"{SCHEMA} create table members (email text primary key);"
RACES = {
    "lost update by read, modify, write": ("points", "points"),
    "insert of what was looked for and not found": ("subscribe", "subscribe"),
    "count, then insert up to a limit": ("seat", "seat"),
    "advisory lock, given back before COMMIT": ("redeem", "redeem"),
}


def operations(shop: Any, mended: bool) -> dict[str, Any]:
    """Requests by name."""
    query = "?mended=1" if mended else ""
    return {
        "points": shop.post(f"/points{query}"),
        "subscribe": shop.post(f"/subscribers{query}"),
        "seat": shop.post(f"/seats{query}"),
        "redeem": shop.post(f"/redeem{query}"),
        "sell": shop.post("/sell"),
        "stock": shop.get("/stock"),
    }
