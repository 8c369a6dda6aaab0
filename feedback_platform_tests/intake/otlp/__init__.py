"""The OTLP door."""
