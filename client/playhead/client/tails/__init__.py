"""Tails: every record of one run after a cursor."""

__all__: list[str] = []
