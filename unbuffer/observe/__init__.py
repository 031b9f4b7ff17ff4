"""Readers of what the relay measured. Never imported by `relay`."""
