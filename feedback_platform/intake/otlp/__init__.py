"""The OTLP door: exported traces become inferences and feedback in words of the wire contract."""
