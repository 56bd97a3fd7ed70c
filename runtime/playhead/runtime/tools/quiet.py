"""Keeps other libraries from logging failures that the caller gets as an exception."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["without_errors_of"]


@contextmanager
def without_errors_of(*names: str) -> Generator[None]:
    """Drop what these loggers log as an error, with its traceback, within the block; in all threads."""
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(_below_error)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_below_error)


def _below_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR
