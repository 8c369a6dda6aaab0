"""How events arrive: the HTTP API, the durable log, importers and landing."""
