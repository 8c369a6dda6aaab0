"""Tests, laid out like the package: laws as properties, cases by example, real DuckDB, real Delta."""
