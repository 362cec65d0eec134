"""The grammar: texts of both peers and of DuckDB become trees and statements."""
