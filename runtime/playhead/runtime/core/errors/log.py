"""Errors of the log: an unusable server, a fenced writer, a damaged or missing record, a value that cannot be stored."""

from __future__ import annotations

from typing import Any

from playhead.runtime.core.errors.root import PlayheadError

__all__ = [
    "ArchiveError",
    "EncodingError",
    "FencedError",
    "FileEndsError",
    "ForeignRecordError",
    "GapError",
    "LeaseTooShortError",
    "LogUnavailableError",
    "NoReplicaError",
    "RecordTooLargeError",
    "RedisAuthError",
    "RedisTooOldError",
    "RewindError",
    "RunFileError",
    "ShardsError",
    "UnusableServerError",
    "WriteRefusedError",
]


class LogUnavailableError(PlayheadError):
    """Redis cannot be reached, or it refused for a reason that may pass.

    Args:
        reason: What went wrong.
        advice: What to do about it, for a person who has just called or typed something. The message is both. A log of a
            worker, and a reader that waits, leave the advice out: there the server was reached before.
    """

    exit_code = 69

    def __init__(self, reason: str = "", *, advice: str = "") -> None:
        super().__init__(f"{reason} {advice}".strip())
        self.reason: str = reason
        self.advice: str = advice


class UnusableServerError(LogUnavailableError):
    """The server answers but cannot keep the log in the requested way. Waiting does not help."""


class NoReplicaError(UnusableServerError):
    """The server has no replica, which its durability needs. After a failover this passes, when the former master is back."""


class WriteRefusedError(LogUnavailableError):
    """The server answers but accepts no writes now: it is full, is a replica or lacks one, is loading its data, …"""


class RedisAuthError(PlayheadError):
    """Redis refused the user name or password, or the user lacks a right."""

    exit_code = 77


class RedisTooOldError(PlayheadError):
    """The server is older than Redis 6.2, which the log needs."""

    exit_code = 69


class ShardsError(PlayheadError):
    """The requested number of shards differs from that of the deployment.

    Attributes:
        settled: The number of shards of the deployment.
        wanted: The number that was requested.
    """

    exit_code = 78

    def __init__(self, *, prefix: str, settled: int, wanted: int) -> None:
        self.settled = settled
        self.wanted = wanted
        super().__init__(
            f"the deployment with prefix {prefix!r} has the number of shards {settled}, not {wanted}, and keeps "
            f"it, because sessions are placed by it. Pass {settled} or nothing; another number needs another prefix."
        )


class LeaseTooShortError(PlayheadError):
    """A worker cannot keep its lease because round trips to Redis take too much of it."""

    exit_code = 69  # not 78: round trips may be shorter when a supervisor tries again


class GapError(PlayheadError):
    """Records that a reader needs are not in the log: they were removed, or are not there again yet.

    Attributes:
        run_id: The run.
        expected: The `seq` of the record that the reader needed next.
        found: The `seq` that was there instead, or None if the log ends before it.
    """

    exit_code = 66

    def __init__(self, run_id: str, *, expected: int, found: int | None) -> None:
        self.run_id = run_id
        self.expected = expected
        self.found = found
        if found is not None and found < expected:
            what = (
                f"record {expected} is beyond the end of the log, record {found}: the cursor is of another run, or Redis "
                "lost the end of this log"
            )
        elif found is None:
            what = f"record {expected} is missing, and the log ends before it: Redis lost its end, or it was deleted"
        else:
            what = f"record {expected} is missing, and the next one is {found}: the log was trimmed"
        super().__init__(f"run {run_id}: {what}. Read again from the start (after=0) or from an export.")


class RewindError(GapError):
    """Records that this reader has seen were replaced: Redis lost the end of the log, and the run went on before it.

    Attributes:
        expected: The `seq` of the last record seen, which the log does not have.
        found: The `seq` of the record that replaced it, or None if the log ends before it and will not get it back.
        common: The `seq` of the last record that is certainly unchanged; 0 if none is known.
    """

    def __init__(self, run_id: str, *, expected: int, found: int | None, common: int = 0) -> None:
        super().__init__(run_id, expected=expected, found=found)
        self.common = common
        now = "the log ends before it" if found is None else "another record replaced it"
        self.args: tuple[Any, ...] = (
            f"run {run_id}: record {expected}, which this reader has seen, is gone ({now}): Redis lost the end "
            f"of the log, and the run went on from before it; or the cursor is of another run. Read again after {common} "
            f"(after={common}), and discard what was read beyond that.",
        )


class FileEndsError(GapError):
    """The run had not ended when it was exported, and the reader has read every record in the file.

    Attributes:
        state: The run's state when it was written.
    """

    def __init__(self, run_id: str, *, expected: int, state: str) -> None:
        super().__init__(run_id, expected=expected, found=None)
        self.state = state
        self.args: tuple[Any, ...] = (
            f"run {run_id} was {state} when it was exported, so the file ends with its record {expected - 1}. "
            "Export it again after its end to have the rest.",
        )


class FencedError(PlayheadError):
    """This process lost the run to another process. Its last append may or may not be stored."""


class ForeignRecordError(PlayheadError):
    """A stream entry that is damaged or was not written by playhead."""

    exit_code = 65


class EncodingError(PlayheadError):
    """A value that has no msgpack form. The message says where it was found."""

    exit_code = 65


class RecordTooLargeError(PlayheadError):
    """A prompt or record above the size limit (default 1 MiB of msgpack)."""

    exit_code = 65

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{what} is {size:,} bytes, over the limit of {limit:,}. "
            "Store large content elsewhere and pass a reference, or raise max_record_bytes."
        )


class ArchiveError(PlayheadError):
    """An archive that cannot be used: it cannot be reached, refuses a call, or needs an extra that is not installed.

    Attributes:
        where: The archive, or the file in it; without passwords.
    """

    exit_code = 69

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        super().__init__(f"archive {where}: {what}")


class RunFileError(PlayheadError):
    """A file of runs that cannot be read: truncated, edited, of a newer format, or not such a file at all.

    Attributes:
        path: The file.
        line: The number of the line at fault, from 1; 0 if no single line is at fault.
    """

    exit_code = 65

    def __init__(self, path: str, line: int, what: str) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{path}, line {line}: {what}" if line else f"{path}: {what}")
