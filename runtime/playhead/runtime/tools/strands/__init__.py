"""Tools of Strands as tools of ours. Needs the extra `strands`; imported only for an agent that has such tools."""

__all__: list[str] = []
