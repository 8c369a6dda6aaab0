"""Who may speak at the door, how much, and about what: keys, tokens, signatures, rates, origins. No HTTP here."""
