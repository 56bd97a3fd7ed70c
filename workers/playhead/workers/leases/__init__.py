"""Leases: held, renewed, watched and lost."""

__all__: list[str] = []
