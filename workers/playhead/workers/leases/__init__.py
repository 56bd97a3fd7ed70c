"""Holds, renews and watches leases."""

__all__: list[str] = []
