"""The same shop without a race: every path looks as if it had one."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

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
    Wallet,
    new_app,
)

TAKE = """
local left = tonumber(redis.call('GET', KEYS[1]) or '1')
if left < 1 then return 0 end
redis.call('SET', KEYS[1], left - 1)
return 1
"""


def create_app(url: str, redis_url: str) -> FastAPI:
    """On SQLAlchemy's ORM, by the URL of an engine, and redis-py."""
    places = Places(url, redis_url)
    app = new_app(places)
    _add_sales(app, places)
    _add_office(app, places)
    _add_stock(app, places)
    return app


def _add_sales(app: FastAPI, places: Places) -> None:
    @app.post("/customers/{number}/points")
    async def points(number: int) -> int:
        """One statement reads and writes."""
        async with places.session() as session:
            added = update(Customer).where(Customer.id == number).values(points=Customer.points + 10)
            return int(await session.scalar(added.returning(Customer.points)))

    @app.post("/subscribers/{email}", status_code=201)
    async def subscribe(email: str) -> str:
        """The index decides."""
        async with places.session() as session:
            if await session.scalar(select(Subscriber.id).where(Subscriber.email == email)):
                return "is subscribed"
            added = await session.execute(insert(Subscriber).values(email=email).on_conflict_do_nothing())
        return "subscribed" if added.rowcount else "is subscribed"

    @app.post("/workshops/{number}/seats", status_code=201)
    async def seat(number: int) -> str:
        """An advisory lock is held until the end of the transaction that counts."""
        async with places.session() as session:
            await session.execute(text("select pg_advisory_xact_lock(:number)"), {"number": number})
            taken = await session.scalar(select(func.count()).select_from(Seat).where(Seat.workshop == number))
            if taken >= SEATS:
                raise HTTPException(410, "sold out")
            session.add(Seat(workshop=number, customer="eve"))
        return "yours"

    @app.post("/vouchers/{code}/redeem")
    async def redeem(code: str) -> str:
        """The lock in Redis is given back after COMMIT."""
        if not await places.redis.set(f"lock:{code}", "1", nx=True):
            raise HTTPException(409, "busy")
        try:
            async with places.session() as session:
                voucher = await session.get_one(Voucher, code)
                is_good = voucher.uses_left > 0
                if is_good:
                    voucher.uses_left -= 1
        finally:
            await places.redis.delete(f"lock:{code}")
        return "a tenth less" if is_good else "used up"

    @app.post("/visits")
    async def visit() -> int:
        """One command counts."""
        return int(await places.redis.incr("visits"))


def _add_office(app: FastAPI, places: Places) -> None:
    @app.post("/clerks/{name}/leave")
    async def leave(name: str) -> str:
        """All rows that decide are locked, in one order."""
        async with places.session() as session:
            clerks = (await session.scalars(select(Clerk).order_by(Clerk.name).with_for_update())).all()
            if sum(clerk.on_duty for clerk in clerks) < 2:
                return "you stay"
            for clerk in clerks:
                if clerk.name == name:
                    clerk.on_duty = False
        return "good night"

    @app.post("/invoices", status_code=201)
    async def invoice() -> int:
        """The lock is taken before what it protects is read."""
        async with places.session() as session:
            await session.execute(text("select pg_advisory_xact_lock(7)"))
            last = await session.scalar(select(func.max(Invoice.number)).where(Invoice.series == "R"))
            session.add(Invoice(series="R", number=last + 1))
        return int(last + 1)

    @app.post("/shelves/{number}/plants", status_code=201)
    async def plant(number: int) -> str:
        """The parent is locked while it is needed, as a foreign key does."""
        async with places.session() as session:
            shelf = select(Shelf).where(Shelf.id == number)
            if not await session.scalar(shelf.with_for_update(key_share=True, read=True)):
                raise HTTPException(404, "no such shelf")
            session.add(Plant(shelf=number, name="moss"))
        return "planted"

    @app.delete("/shelves/{number}")
    async def clear_shelf(number: int) -> str:
        """Nobody plants while it looks."""
        async with places.session() as session:
            shelf = await session.scalar(select(Shelf).where(Shelf.id == number).with_for_update())
            if shelf is None:
                return "gone"
            if await session.scalar(select(Plant.id).where(Plant.shelf == number).limit(1)):
                return "not empty"
            await session.delete(shelf)
        return "gone"

    @app.put("/pages/{number}")
    async def edit(number: int, version: int) -> int:
        """The version is compared by the statement that writes."""
        async with places.session() as session:
            page = await session.get_one(Page, number)
            written = await session.execute(
                update(Page)
                .where(Page.id == number, Page.version == version)
                .values(body=f"{page.id} is closed", version=version + 1)
            )
            if not written.rowcount:
                raise HTTPException(412, "somebody was faster")
        return version + 1


def _add_stock(app: FastAPI, places: Places) -> None:
    @app.post("/stock/{item}/sell")
    async def sell(item: int) -> str:
        """A script looks and takes."""
        return "sold" if await places.redis.eval(TAKE, 1, f"stock:{item}") else "sold out"

    @app.post("/wallets/{payer}/pay/{payee}")
    async def pay(payer: str, payee: str) -> str:
        """Rows are locked in the order of the request: two that pay each other end in a deadlock, and neither's money
        is lost."""
        async with places.session() as session:
            first, second = [await session.get_one(Wallet, owner, with_for_update=True) for owner in (payer, payee)]
            if first.cents < 300:
                return "too little"
            first.cents -= 300
            second.cents += 300
        return "paid"
