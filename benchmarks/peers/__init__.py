"""The contestants of the engine's benchmark, one file each; store.py says what they are asked."""

from peers.clickhouse import ClickHouse
from peers.duckdb_ import DuckDb
from peers.mainstem_ import Mainstem
from peers.parquet import Parquet
from peers.sqlite_ import Sqlite
from peers.store import Store
from peers.tsfile_ import TsFile

PEERS: dict[str, type[Store]] = {
    peer.name: peer for peer in (DuckDb, ClickHouse, TsFile, Parquet, Sqlite)
}
"""By name, in the order of the tables."""

__all__ = ["PEERS", "Mainstem", "Store"]
