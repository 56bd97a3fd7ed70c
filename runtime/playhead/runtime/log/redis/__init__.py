"""The Redis log."""

__all__: list[str] = []
