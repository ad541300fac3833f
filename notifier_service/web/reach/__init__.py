"""Reaching people who are not looking: webhooks, links, and pushes to their browsers (contract section 14)."""
