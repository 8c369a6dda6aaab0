"""SQL macros, one file per engine."""
