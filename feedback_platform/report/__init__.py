"""Charts and HTML made from published facts."""
