"""Bridges to agents that run as servers of their own and are asked over their own interface."""
