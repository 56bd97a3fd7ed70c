"""A local GGUF file, served by a process of its own."""

__all__: list[str] = []
