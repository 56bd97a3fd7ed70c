"""The values and rules of a run. Pure: no module here does I/O or imports anything from outside this folder."""

__all__: list[str] = []
