"""The loop: performs the steps of `decide` and yields records. It does not use the log."""

__all__: list[str] = []
