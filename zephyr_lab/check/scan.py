"""Reads a block of JSON lines into columns with numpy, without an object for any value; most of a history is such.

Three checks let a block pass; whatever fails one is read by `columns`, object by object, which also says what is
wrong. (1) The block without digits, commas and blanks is a skeleton, of which few lines are different; each different
one must match a regular expression. (2) Each two characters in a row are two that JSON may have there, quotes that
begin a name told from those that end one. (3) The numbers between any two brackets are as many as an operation of this
kind has, and stand beside the names that they belong to.

Libraries that give objects (orjson, msgspec) need longer for these than all of this takes; those that give columns
(pyarrow, polars) read no lists of several types. docs/checker.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.history import NULL, UNKNOWN
from zephyr_lab.check.skeletons import Skeletons, Strange

_DIGIT, _LETTER, _N, _L, _BEGINS, _ENDS, _COMMA, _COLON = range(8)  # of characters; quotes that begin and end a name
_BRACE, _UNBRACE, _BLANK, _MINUS, _OTHER, _LINE, _OPEN, _CLOSE = range(8, 16)
_MOST_DIGITS = 18
_ZEROS, _TO_TEN, _TOP_BITS, _EACH_BYTE = (np.uint64(int.from_bytes(bytes([one]) * 8)) for one in (0x30, 0x76, 0x80, 1))
_EVERY_FOURTH = np.uint64(0x000000FF000000FF)


def _classes() -> bytes:
    table = bytearray([_OTHER] * 256)
    for characters, kind in (
        (b"0123456789", _DIGIT),
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", _LETTER),
    ):
        for one in characters:
            table[one] = kind
    kinds = (_N, _L, _BEGINS, _COMMA, _COLON, _BRACE, _UNBRACE, _BLANK, _MINUS, _LINE, _OPEN, _CLOSE)
    for one, kind in zip(b'nl",:{} -\n[]', kinds, strict=True):
        table[one] = kind
    return bytes(table)


def _pairs() -> bytes:
    """The bytes of two classes in a row, 16 times the first and the second, that JSON may have."""
    letters = (_LETTER, _N, _L)
    begins = (_DIGIT, _MINUS, _OPEN, _BEGINS, _N)  # n: null is the only word outside quotes
    ends = (_COMMA, _CLOSE, _UNBRACE)
    after = {
        _DIGIT: (_DIGIT, _ENDS, *ends),
        _LETTER: (*letters, _DIGIT, _ENDS),
        _N: (*letters, _DIGIT, _ENDS),
        _L: (*letters, _DIGIT, _ENDS, *ends),
        _BEGINS: letters,
        _ENDS: (_COLON, *ends),
        _COMMA: (_BLANK, *begins),
        _COLON: (_BLANK, *begins),
        _OPEN: (_DIGIT, _MINUS, _OPEN, _BEGINS, _CLOSE),
        _CLOSE: ends,
        _BRACE: (_BEGINS,),
        _UNBRACE: (_LINE,),
        _BLANK: begins,
        _LINE: (_BRACE,),
        _MINUS: (_DIGIT,),
    }
    return bytes(16 * one + other for one, others in after.items() for other in others)


_CLASSES, _PAIRS = _classes(), _pairs()


@dataclass
class Scanned:
    """The columns of a block: `sessions` and `keys` are numbers, or names as bytes; `value` is NULL for nothing; `size`
    of a read's list is -1 for null, and 0 for all that is no list; `listed`: which operations read a list."""

    status: Ints
    sessions: Ints | list[bytes]
    begin: Ints
    end: Ints
    counts: Ints
    kind: Ints
    keys: Ints | list[bytes]
    value: Ints
    size: Ints
    elements: Ints
    listed: Bools
    appends: bool
    registers: bool


def scan(block: bytes, skeletons: Skeletons) -> Scanned:
    """The columns of whole lines, each with its newline. Raises Strange if any is not of the usual form."""
    forms = skeletons.of(block)
    if not len(forms):
        raise Strange
    return _Block(block, forms).columns()


def _need(held: object) -> None:
    if not held:
        raise Strange


def _shifted(small: Any) -> Any:
    """Numbers below 16, times 16, eight at a time."""
    words = np.zeros(len(small) + 7 >> 3, np.uint64)
    shifted = words.view(np.uint8)[: len(small)]
    shifted[:] = small
    words <<= np.uint64(4)
    return shifted


class _Block:
    """`at`: where the last digit of each number, each bracket and each newline is; `type`: which character it is.

    `lines`, `opens`, `closes`: which of these end a line, open a bracket, close one; `ops`: which open an operation.
    """

    def __init__(self, block: bytes, forms: Ints) -> None:
        self.block, self.forms = block, forms
        self.text = np.frombuffer(block, np.uint8)
        kinds = np.frombuffer(bytearray(block).translate(_CLASSES), np.uint8)
        ends = (kinds[1:] == _BEGINS) & (kinds[:-1] < _BEGINS)  # what follows a letter or a digit ends a name
        kinds[1:] += ends.view(np.uint8)
        self.kinds = kinds
        pairs = _shifted(kinds)[:-1]
        pairs |= kinds[1:]
        if kinds[0] != _BRACE or kinds[-1] != _LINE or pairs.tobytes().translate(None, _PAIRS):
            raise Strange
        self.digit = kinds == _DIGIT
        marks = kinds >= _LINE
        marks[:-1] |= self.digit[:-1] > self.digit[1:]
        self.at = np.flatnonzero(marks)
        self.type = kinds[self.at]
        self.number = self.type == _DIGIT
        self.element = self.number.copy()
        self.lines = np.flatnonzero(self.type == _LINE)
        self.opens = np.flatnonzero(self.type == _OPEN)
        self.closes = np.flatnonzero(self.type == _CLOSE)
        self.ops = self.opens[kinds[self.at[self.opens] + 1] == _BEGINS]
        self.values = self._values()

    def _values(self) -> Ints:
        """The value of each number; of the others, anything."""
        before = self.at - 2
        third, second, digits = ((self.text[i:] if i else self.text)[before] - np.uint8(ord("0")) for i in range(3))
        two = (second < 10) & self.number
        three = two & (third < 10)
        _need(not (two & (second == 0) & ~three).any())  # 01 is no number
        second *= np.uint8(10)
        second *= two
        digits += second
        long = np.flatnonzero(three)
        places = self.at[long]
        told, count = self._eight_digits(places)
        values: Ints = digits.astype(np.int32 if count.max(initial=0) < 8 else np.int64)
        if (count == 8).any():
            told += self._before(np.where(count == 8, places - 8, 0), count)
        _need((self.text[places - count + 1] != ord("0")).all())
        values[long] = told
        if b"-" in self.block:
            self._negative(values)
        return values

    def _negative(self, values: Ints) -> None:
        minus = np.flatnonzero(self.text == ord("-"))
        _need((self.text[minus + 1] != ord("0")).all())
        values[np.searchsorted(self.at, minus)] *= -1

    def _before(self, places: Ints, count: Ints) -> Ints:
        """Of numbers of more than eight digits, what the others are worth; `places`: of the last of these. Adds to the
        counts of digits."""
        worth = np.zeros(len(places), np.int64)
        for power in (8, 16):
            more = np.flatnonzero((places > 0) & self.digit[places])
            told, further = self._eight_digits(places[more])
            worth[more] += told * 10**power
            count[more] += further
            places[more] = np.where(further == 8, places[more] - 8, 0)
        _need((count <= _MOST_DIGITS).all())
        return worth

    def _eight_digits(self, places: Ints) -> tuple[Ints, Ints]:
        """The number of up to eight digits that ends at each place, and how many it has: eight bytes at a time."""
        words = np.ndarray((max(len(self.block) - 7, 0),), "<u8", self.block, 0, (1,))[places - 7]
        words ^= _ZEROS
        odd = ((words + _TO_TEN) | words) & _TOP_BITS  # the bytes that are no digits
        for shift in (8, 16, 32):  # and all before these
            odd |= odd >> np.uint64(shift)
        odd >>= np.uint64(7)
        count = 8 - ((odd * _EACH_BYTE) >> np.uint64(56)).astype(np.int64)
        words &= ~(odd * np.uint64(255))
        words = words * np.uint64(10) + (words >> np.uint64(8))
        high = (words & _EVERY_FOURTH) * np.uint64(100 + (1_000_000 << 32))
        low = ((words >> np.uint64(16)) & _EVERY_FOURTH) * np.uint64(1 + (10_000 << 32))
        return ((high + low) >> np.uint64(32)).astype(np.int64), count

    def columns(self) -> Scanned:
        forms, values = self.forms, self.values
        first = np.concatenate([[0], self.lines[:-1] + 1])  # of each line, its first mark
        opened = self.opens[np.searchsorted(self.opens, first)]
        closed = self.closes[np.searchsorted(self.closes, self.lines) - 1]
        sessions, of_session = self._sessions(first, opened)
        begin, end = self._times(closed)
        counts = np.diff(np.searchsorted(self.ops, np.append(first, len(self.at))))
        after = np.append(self.ops[1:], 0)
        _need((closed[counts == 0] == opened[counts == 0] + 1).all())
        last = np.cumsum(counts)[counts > 0] - 1
        _need((self.ops[last - counts[counts > 0] + 1] == opened[counts > 0] + 1).all())
        after[last] = closed[counts > 0]
        ops = self._operations(after - 1)
        kind, keys, value, size, listed = ops
        _need(len(self.opens) == len(self.closes) == len(first) + len(self.ops) + np.count_nonzero(listed))
        _need((self.text[self.at[self.lines] - 1] == ord("}")).all())
        element = self.element
        element[first[of_session]] = False
        for i in range(4):  # of the times, and of the names of these
            tail = closed + 1 + i
            element[tail[tail < self.lines]] = False
        elements = values[element]
        _need(len(elements) == np.maximum(size, 0).sum())
        return Scanned(
            forms[:, 0].astype(np.int8),
            sessions,
            begin,
            end,
            counts,
            kind,
            keys,
            value,
            size,
            elements,
            listed,
            *self.told,
        )

    def _sessions(self, first: Ints, opened: Ints) -> tuple[Ints | list[bytes], Bools]:
        """Sessions, and which lines have a number in theirs."""
        text, letters = self.text, self.forms[:, 1]
        start = np.concatenate([[0], self.at[self.lines[:-1]] + 1])
        colon = start + len('{"session":') - 1
        _need((text[colon] == ord(":")).all())
        place = colon + 1 + (text[colon + 1] == ord(" "))
        numbers = opened - first
        if (letters < 0).all():
            _need((numbers == 1).all() and ((text[place] != ord('"')) & (text[place] != ord("["))).all())
            return self.values[first], numbers == 1
        _need((letters > 0).all() and (text[place] == ord('"')).all())
        ends = place + 1 + letters
        _need((self.digit[ends] == numbers).all())
        ends = np.where(numbers == 1, self.at[first] + 1, ends)
        _need((text[ends] == ord('"')).all())
        return self._names(place + 1, ends), numbers == 1

    def _names(self, start: Ints, end: Ints) -> list[bytes]:
        return [self.block[one:other] for one, other in zip(start.tolist(), end.tolist(), strict=True)]

    def _times(self, closed: Ints) -> tuple[Ints, Ints]:
        """What follows the operations: `"t0"` with its number or null, and `"t1"`."""
        t0, t1 = self.forms[:, 2], self.forms[:, 3]
        _need((self.lines - closed - 1 == t0 + t1).all())
        begin, end = np.full((2, len(closed)), UNKNOWN, np.int64)
        named = t0 > 0
        for digit, name, told, column, ending in (
            (0, closed + 1, t0, begin, ord(",")),
            (1, closed + 1 + t0, t1, end, ord("}")),
        ):
            mark = name[named]
            _need((self.values[mark] == digit).all() and (self.text[self.at[mark] + 1] == ord('"')).all())
            some = told == 2
            mark = name[some] + 1
            _need((self.text[self.at[mark] + 1] == ending).all() and (self.values[mark] >= 0).all())
            column[some] = self.values[mark]
        nulls = tuple(int(each.sum()) for each in (self.forms[:, 5], t0 == 1, t1 == 1))
        if any(nulls):
            _need(tuple(map(self.block.count, (b"null]", b"null,", b"null}"))) == nulls)
        return begin, end

    def _operations(self, end: Ints) -> tuple[Ints, Ints | list[bytes], Ints, Ints, Bools]:
        """Kind, key, value, size of the list, and whether it is one; leaves elements of lists as elements. `end`: the
        mark of each operation's closing bracket."""
        text, at, ops, types = self.text, self.at, self.ops, self.type
        place = at[ops]
        _need((types[end] == _CLOSE).all())
        letter = text[place + 2]
        read, append = letter == ord("r"), letter == ord("a")
        comma = place + len('["r"')
        comma += append * np.int8(len("append") - len("r"))
        _need(((text[comma] == ord(",")) & (text[comma - 1] == ord('"'))).all())
        key = comma + 1 + (text[comma + 1] == ord(" "))
        named = text[key] == ord('"')
        _need(np.count_nonzero(named) == self.forms[:, 4].sum())
        keys: Ints | list[bytes]
        if named.all() and len(named):
            quotes = np.flatnonzero(self.text == ord('"'))
            _need((self.kinds[quotes[1::2]] == _ENDS).all() and (self.kinds[quotes[::2]] == _BEGINS).all())
            ends = quotes[np.searchsorted(quotes, key + 1)]
            digit = self.digit[ends - 1]
            keys, skip, used = self._names(key + 1, ends), digit.astype(np.int8), ops[digit] + 1
        else:
            _need(not named.any() and (self.digit[key] | (text[key] == ord("-"))).all())
            keys, skip, used = self.values[ops + 1], np.ones(len(ops), np.int8), ops + 1
        _need(self.number[used].all())
        self.element[used] = False
        size = end - ops - 1 - skip  # marks after the key
        last = end - 1
        ending = types[last]
        null = read & (text[at[end] - 1] == ord("l"))
        listed = read & (types[ops + 1 + skip] == _OPEN)
        single = ~(null | listed)
        _need(((size == 1) | ~single).all() and not size[null].any())
        _need(((ending == _DIGIT) | ~single).all() and ((ending == _CLOSE) | ~listed).all())
        self.element[last] = False
        size -= 2
        size *= listed
        value = self.values[last - listed].astype(np.int64)
        value[(listed & (size == 0)) | null] = NULL
        size[null] = -1
        registers = bool((~(read | append)).any() or (read & single).any())
        self.told = bool(append.any()), registers
        return (~read).astype(np.int8), keys, value, size.astype(np.int32), listed
