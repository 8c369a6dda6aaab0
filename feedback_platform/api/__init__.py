"""The HTTP API: what `feedback serve` answers, on top of intake, publication and explanation."""
