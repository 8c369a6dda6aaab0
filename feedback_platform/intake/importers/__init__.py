"""One module per foreign format; each yields wire events."""
