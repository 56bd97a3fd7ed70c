"""Leases: held, renewed, watched, lost."""

__all__: list[str] = []
