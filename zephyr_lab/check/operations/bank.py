"""Transfers between accounts: every read of all of them has the same total.

read {account: balance}    transfer {"from": account, "to": account, "amount": 5}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from zephyr_lab.check.operations.events import Fault, Operation, Undecided
from zephyr_lab.errors import BadInput


def check(operations: Sequence[Operation], negative: bool = False) -> list[Fault]:
    """Reads with another total than most have, or without an account that others have; and with less than nothing in
    one, which Jepsen's transfers refuse, unless that may be (`negative`).

    Raises Undecided if no read has an account.
    """
    reads = [(one, _balances(one)) for one in operations if one.ok and one.f == "read"]
    totals = Counter(sum(balances.values()) for _, balances in reads)
    ((total, _),) = totals.most_common(1)  # of several, the first that was read
    accounts = set().union(*(balances for _, balances in reads))
    if not accounts:
        raise Undecided("no read has an account, so the history says nothing")
    found = []
    for one, balances in reads:
        if missing := sorted(map(str, accounts - balances.keys())):
            found.append(Fault("account-missing", (one.line,), f"accounts {', '.join(missing)} are not in the read"))
        elif (seen := sum(balances.values())) != total:
            found.append(_wrong_total(one, seen, total, operations))
        if less := sorted(str(account) for account, balance in balances.items() if balance < 0 and not negative):
            text = f"less than nothing in {', '.join(less)} (if that may be, say --negative-balances)"
            found.append(Fault("negative-balance", (one.line,), text))
    return found


def _balances(one: Operation) -> dict[Any, int]:
    value = one.value
    if not isinstance(value, dict) or not all(type(balance) is int for balance in value.values()):
        raise BadInput(f"line {one.line}: a read of the bank gave {value!r:.60}; it gives accounts with their balances")
    return value


def _wrong_total(read: Operation, seen: int, total: int, operations: Sequence[Operation]) -> Fault:
    """With the transfer, at the time of the read or before, of which one half explains the difference."""
    text = f"the accounts have {seen} in total, {total} in most reads"
    for one in operations:
        moved = one.asked if isinstance(one.asked, dict) else one.value
        if one.f == "transfer" and one.possible and one.begin < read.end and isinstance(moved, dict):
            amount = moved.get("amount")
            half = {f"-{amount}": "from", str(amount): "to"}.get(str(seen - total))
            if half and one.end > read.begin:
                text += f"; of the transfer of line {one.line} it has only the half {half!r} {moved.get(half)!r}"
                return Fault("wrong-total", (read.line, one.line), text)
    return Fault("wrong-total", (read.line,), text)
