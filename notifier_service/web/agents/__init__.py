"""Agents that call over hooks of their own."""
