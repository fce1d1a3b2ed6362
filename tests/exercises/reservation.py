"""reservation: what holds, and what people try."""

from __future__ import annotations

from typing import Any

from redis.exceptions import WatchError

CHECK_AND_ADD = """
local booked = tonumber(redis.call('GET', KEYS[1]) or '0')
if booked + tonumber(ARGV[1]) > 100000 then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[1])
return 1
"""
ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


def by_script(redis: Any, slot: str, price: int) -> bool:
    return bool(redis.eval(CHECK_AND_ADD, 1, slot, price))


def by_watching(redis: Any, slot: str, price: int) -> bool:
    while True:
        with redis.pipeline() as pipe:
            pipe.watch(slot)
            if int(pipe.get(slot)) + price > 100_000:
                return False
            pipe.multi()
            pipe.incrby(slot, price)
            try:
                pipe.execute()
            except WatchError:
                continue
            return True


RIGHT = [by_script, by_watching]


def naive(redis: Any, slot: str, price: int) -> bool:
    if int(redis.get(slot)) + price > 100_000:
        return False
    redis.incrby(slot, price)
    return True


def get_then_set(redis: Any, slot: str, price: int) -> bool:
    booked = int(redis.get(slot))
    if booked + price > 100_000:
        return False
    redis.set(slot, booked + price)
    return True


def add_and_take_back(redis: Any, slot: str, price: int) -> bool:
    if redis.incrby(slot, price) > 100_000:
        redis.decrby(slot, price)
        return False
    return True


def script_that_adds_first(redis: Any, slot: str, price: int) -> bool:
    if redis.eval(ADD, 1, slot, price) > 100_000:
        redis.eval(ADD, 1, slot, -price)
        return False
    return True


def multi_without_watch(redis: Any, slot: str, price: int) -> bool:
    if int(redis.get(slot)) + price > 100_000:
        return False
    with redis.pipeline(transaction=True) as pipe:
        pipe.incrby(slot, price)
        pipe.execute()
    return True


def watch_error_not_caught(redis: Any, slot: str, price: int) -> bool:
    with redis.pipeline() as pipe:
        pipe.watch(slot)
        if int(pipe.get(slot)) + price > 100_000:
            return False
        pipe.multi()
        pipe.incrby(slot, price)
        pipe.execute()
    return True


def watch_error_is_no(redis: Any, slot: str, price: int) -> bool:
    try:
        return watch_error_not_caught(redis, slot, price)
    except WatchError:
        return False


def watched_too_late(redis: Any, slot: str, price: int) -> bool:
    if int(redis.get(slot)) + price > 100_000:
        return False
    with redis.pipeline() as pipe:
        pipe.watch(slot)
        pipe.multi()
        pipe.incrby(slot, price)
        try:
            pipe.execute()
        except WatchError:
            return watched_too_late(redis, slot, price)
    return True


def bytes_not_read(redis: Any, slot: str, price: int) -> bool:
    return bool(redis.get(slot) + price <= 100_000)


REFUSED = {
    naive: "holds more than its capacity",
    get_then_set: "what was accepted is reserved",
    add_and_take_back: "a reservation that fits is accepted",
    script_that_adds_first: "a reservation that fits is accepted",
    multi_without_watch: "holds more than its capacity",
    watch_error_not_caught: "WatchError",
    watch_error_is_no: "a reservation that fits is accepted",
    watched_too_late: "holds more than its capacity",
    bytes_not_read: "comes to its end",
}
