"""What crosses a boundary, declared once: wire events, table contracts and frozen policies."""
