"""What the limits of statements must satisfy, so that any statement can run at all."""

from __future__ import annotations

from mainstem_node.config.report import Report
from mainstem_node.config.schema import MIB, SECOND_NS, SqlConfig, SqlRoleConfig

PROCESSES_MAX = 64
"""Each takes about 120 MB when it has nothing to do."""
MEMORY_LIMIT_MIN = 32 * MIB
"""Below this the executing database cannot sort one block of rows."""
RESULT_LIMIT_MIN = MIB
TIMEOUT_MAX_NS = 86_400 * SECOND_NS
"""A statement holds files of the store for as long as it runs."""


def check_sql(report: Report, where: str, sql: SqlConfig) -> None:
    """Reports every bound that is out of its own bounds."""
    if not 1 <= sql.processes <= PROCESSES_MAX:
        report.problem(
            f"{where}.processes", f"{sql.processes} is not between 1 and {PROCESSES_MAX}",
            "write 3, or one more than the cores",
        )  # fmt: skip
    roles = {"admin": sql.admin, "write": sql.write, "read": sql.read}
    for name, role in roles.items():
        _check_role(report, f"{where}.{name}", role)


def _check_role(report: Report, where: str, role: SqlRoleConfig) -> None:
    if not 0 < role.timeout <= TIMEOUT_MAX_NS:
        report.problem(f"{where}.timeout", "it is not between 0 and 1d", "write 600s")
    if role.memory_limit < MEMORY_LIMIT_MIN:
        report.problem(f"{where}.memory_limit", "a statement needs at least 32 MiB", "write 512MiB")
    if role.result_limit < RESULT_LIMIT_MIN:
        report.problem(f"{where}.result_limit", "less than 1 MiB holds no answer", "write 256MiB")
    if role.row_limit < 1:
        report.problem(f"{where}.row_limit", "no answer has so few rows", "write 1000000")
    if role.concurrency < 1:
        report.problem(f"{where}.concurrency", "nobody could ask anything", "write 2")
