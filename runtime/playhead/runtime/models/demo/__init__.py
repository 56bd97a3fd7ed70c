"""The offline demo model."""

__all__: list[str] = []
