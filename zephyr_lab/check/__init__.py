"""Histories of transactions: which isolation level one satisfies, and the cycle that proves that it does not."""

from zephyr_lab.check.checker import check
from zephyr_lab.check.history import History, Workload
from zephyr_lab.check.read import from_transactions, parse, read, write
from zephyr_lab.check.registers import Assumptions
from zephyr_lab.check.report import Finding, Report

__all__ = [
    "Assumptions",
    "Finding",
    "History",
    "Report",
    "Workload",
    "check",
    "from_transactions",
    "parse",
    "read",
    "write",
]
