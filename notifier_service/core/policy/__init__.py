"""Whether a tool call runs, waits for a person, or is denied, and why (contract section 11)."""
