"""Keeps other libraries from logging failures that the caller gets as an exception."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["without_errors_of"]


@contextmanager
def without_errors_of(*names: str) -> Generator[list[str]]:
    """Drop what these loggers log as an error, with its traceback, within the block; in all threads.

    Yields the messages of what was dropped.
    """
    loggers = [logging.getLogger(name) for name in names]
    dropped: list[str] = []

    def below_error(record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        dropped.append(record.getMessage())
        return False

    for logger in loggers:
        logger.addFilter(below_error)
    try:
        yield dropped
    finally:
        for logger in loggers:
            logger.removeFilter(below_error)
