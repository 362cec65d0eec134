"""FLUSH, COMPACT DATABASE and TRIM DATABASE: what the engine does by itself, asked for now.

1. FLUSH writes what memory holds into parts. COMPACT does so and joins parts, which gives back the
   space of what was deleted. TRIM does so and removes what is older than KEEP and TTL.
2. Parts of all databases are looked after together. A database that is named must be there.
3. They return when it is done. They change no answer of any query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainstem_engine.catalog.databases import DEFAULT_DATABASE
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.select.relations import database_name
from mainstem_engine.sql.statements import Upkeep

if TYPE_CHECKING:
    from mainstem_engine.sql.storage import Storage


def keep_up(engine: Storage, statement: Upkeep) -> list[str]:
    """Its warnings. Raises NotFoundError, OSError, EngineError."""
    present = {database.name for database in engine.catalog.databases.shown()} | {DEFAULT_DATABASE}
    for name in statement.names:
        wanted = database_name(name)
        if wanted not in present:
            raise NotFoundError(
                f"there is no database {wanted}", field=wanted, hint="SHOW DATABASES lists them"
            )
    engine.flush()
    if statement.what == "COMPACT":
        engine.compact()
    elif statement.what == "TRIM":
        engine.expire()
    if not statement.names or len(present) == 1:
        return []
    return [f"{statement.what} is of all databases: they are looked after together"]
