"""The loop: performs what `decide` says and yields records. Knows no log."""

__all__: list[str] = []
