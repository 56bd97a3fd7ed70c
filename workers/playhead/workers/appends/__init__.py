"""Writes records to the log."""

__all__: list[str] = []
