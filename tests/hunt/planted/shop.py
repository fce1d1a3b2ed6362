"""A shop of 12 paths with nine races of nine kinds, and two paths that only look as if they had one."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException
from sqlalchemy import delete, func, select, text, update

from tests.hunt.planted.models import (
    SEATS,
    Clerk,
    Customer,
    Invoice,
    Page,
    Places,
    Plant,
    Seat,
    Shelf,
    Subscriber,
    Voucher,
    new_app,
)

RACES = {
    "lost update by read, modify, write": ("points", "points"),
    "insert of what was looked for and not found": ("subscribe", "subscribe"),
    "count, then insert up to a limit": ("seat", "seat"),
    "write skew on two rows": ("ann-leaves", "bob-leaves"),
    "lock in Redis, given back before COMMIT": ("redeem", "redeem"),
    "lock that is taken after the snapshot": ("invoice", "invoice"),
    "GET, then SET": ("visit", "visit"),
    "row without its parent": ("plant", "clear-shelf"),
    "version that is compared in the program alone": ("edit", "edit"),
}


def operations(app: Any) -> dict[str, Any]:
    """Requests by name, to either shop."""
    return {
        "points": app.post("/customers/1/points"),
        "subscribe": app.post("/subscribers/eve@example.org"),
        "seat": app.post("/workshops/1/seats"),
        "ann-leaves": app.post("/clerks/ann/leave"),
        "bob-leaves": app.post("/clerks/bob/leave"),
        "redeem": app.post("/vouchers/SPRING/redeem"),
        "invoice": app.post("/invoices"),
        "visit": app.post("/visits"),
        "plant": app.post("/shelves/1/plants"),
        "clear-shelf": app.delete("/shelves/1"),
        "edit": app.put("/pages/1?version=1"),
        "sell": app.post("/stock/1/sell"),
        "pay": app.post("/wallets/ann/pay/bob"),
    }


def create_app(url: str, redis_url: str) -> FastAPI:
    """On SQLAlchemy's ORM, by the URL of an engine, and redis-py."""
    places = Places(url, redis_url)
    app = new_app(places)
    _add_sales(app, places)
    _add_office(app, places)
    _add_safe_ones(app, places)
    return app


def _add_sales(app: FastAPI, places: Places) -> None:
    @app.post("/customers/{number}/points")
    async def points(number: int) -> int:
        async with places.session() as session:
            customer = await session.get_one(Customer, number)
            customer.points += 10
        return int(customer.points)

    @app.post("/subscribers/{email}", status_code=201)
    async def subscribe(email: str) -> str:
        async with places.session() as session:
            if await session.scalar(select(Subscriber.id).where(Subscriber.email == email)):
                return "is subscribed"
            session.add(Subscriber(email=email))
        return "subscribed"

    @app.post("/workshops/{number}/seats", status_code=201)
    async def seat(number: int) -> str:
        async with places.session() as session:
            taken = await session.scalar(select(func.count()).select_from(Seat).where(Seat.workshop == number))
            if taken >= SEATS:
                raise HTTPException(410, "sold out")
            session.add(Seat(workshop=number, customer="eve"))
        return "yours"

    @app.post("/vouchers/{code}/redeem")
    async def redeem(code: str) -> str:
        async with places.session() as session:
            if not await places.redis.set(f"lock:{code}", "1", nx=True):
                raise HTTPException(409, "busy")
            voucher = await session.get_one(Voucher, code)
            is_good = voucher.uses_left > 0
            if is_good:
                voucher.uses_left -= 1
                await session.flush()
            await places.redis.delete(f"lock:{code}")
        return "a tenth less" if is_good else "used up"

    @app.post("/visits")
    async def visit() -> int:
        count = int(await places.redis.get("visits") or 0) + 1
        await places.redis.set("visits", count)
        return count


def _add_office(app: FastAPI, places: Places) -> None:
    @app.post("/clerks/{name}/leave")
    async def leave(name: str) -> str:
        async with places.at_repeatable_read() as session:
            on_duty = (await session.scalars(select(Clerk).where(Clerk.on_duty))).all()
            if len(on_duty) < 2:
                return "you stay"
            for clerk in on_duty:
                if clerk.name == name:
                    clerk.on_duty = False
        return "good night"

    @app.post("/invoices", status_code=201)
    async def invoice() -> int:
        async with places.at_repeatable_read() as session:
            series = await session.scalar(text("select value from settings where name = 'series'"))
            await session.execute(text("select pg_advisory_xact_lock(7)"))
            last = await session.scalar(select(func.max(Invoice.number)).where(Invoice.series == series))
            session.add(Invoice(series=series, number=last + 1))
        return int(last + 1)

    @app.post("/shelves/{number}/plants", status_code=201)
    async def plant(number: int) -> str:
        async with places.session() as session:
            if not await session.get(Shelf, number):
                raise HTTPException(404, "no such shelf")
            session.add(Plant(shelf=number, name="moss"))
        return "planted"

    @app.delete("/shelves/{number}")
    async def clear_shelf(number: int) -> str:
        async with places.session() as session:
            if await session.scalar(select(Plant.id).where(Plant.shelf == number).limit(1)):
                return "not empty"
            await session.execute(delete(Shelf).where(Shelf.id == number))
        return "gone"

    @app.put("/pages/{number}")
    async def edit(number: int, version: int) -> int:
        async with places.session() as session:
            page = await session.get_one(Page, number)
            if page.version != version:
                raise HTTPException(412, "somebody was faster")
            await session.execute(update(Page).where(Page.id == number).values(body="closed", version=version + 1))
        return version + 1


def _add_safe_ones(app: FastAPI, places: Places) -> None:
    @app.post("/stock/{item}/sell")
    async def sell(item: int) -> str:
        """One statement looks and takes."""
        async with places.session() as session:
            taken = await session.execute(
                text("update stock set quantity = quantity - 1 where item = :item and quantity > 0"), {"item": item}
            )
        return "sold" if taken.rowcount else "sold out"

    @app.post("/wallets/{payer}/pay/{payee}")
    async def pay(payer: str, payee: str) -> str:
        """Both rows are locked before they are read."""
        async with places.session() as session:
            cents = {}
            for owner in sorted([payer, payee]):
                asked = text("select cents from wallets where owner = :owner for update")
                cents[owner] = await session.scalar(asked, {"owner": owner})
            if cents[payer] < 300:
                return "too little"
            for owner, change in ((payer, -300), (payee, 300)):
                asked = text("update wallets set cents = :cents where owner = :owner")
                await session.execute(asked, {"cents": cents[owner] + change, "owner": owner})
        return "paid"
