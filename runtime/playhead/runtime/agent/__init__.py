"""`Agent` and its in-process runs."""

__all__: list[str] = []
