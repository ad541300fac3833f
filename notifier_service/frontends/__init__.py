"""The chat's agent in the words of chat pages: what a turn is made of, and how each protocol says it. No HTTP."""
