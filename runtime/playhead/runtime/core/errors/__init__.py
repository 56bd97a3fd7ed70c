"""Every exception that playhead raises. Each names what went wrong, with which value, and what to do.

All derive from `PlayheadError`; the command line prints their message and exits with `exit_code`.
Names shared with Strands (`MaxTokensReachedException`, …) keep Strands' spelling, because callers catch them by it.
"""

from __future__ import annotations

from playhead.runtime.core.errors.log import (
    ArchiveError,
    EncodingError,
    FencedError,
    FileEndsError,
    ForeignRecordError,
    GapError,
    LeaseTooShortError,
    LogUnavailableError,
    RecordTooLargeError,
    RedisAuthError,
    RedisTooOldError,
    RewindError,
    RunFileError,
    ShardsError,
    UnusableServerError,
    WriteRefusedError,
)
from playhead.runtime.core.errors.models import (
    ContextWindowOverflowException,
    MaxTokensReachedException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
    ModelUnavailableError,
)
from playhead.runtime.core.errors.remote import RunFailedError, remote_error
from playhead.runtime.core.errors.requests import (
    AgentBusyError,
    AgentNotFoundError,
    AgentPausedError,
    BadTargetError,
    ForkAfterEffectsError,
    InterruptNotOpenError,
    InvalidMessageError,
    NoWorkerError,
    RecordNotFoundError,
    RequestNotFoundError,
    RunConflictError,
    RunEndedError,
    RunExistsError,
    RunNotFoundError,
)
from playhead.runtime.core.errors.root import PlayheadError

__all__ = [
    "AgentBusyError",
    "AgentNotFoundError",
    "AgentPausedError",
    "ArchiveError",
    "BadTargetError",
    "ContextWindowOverflowException",
    "EncodingError",
    "FencedError",
    "FileEndsError",
    "ForeignRecordError",
    "ForkAfterEffectsError",
    "GapError",
    "InterruptNotOpenError",
    "InvalidMessageError",
    "LeaseTooShortError",
    "LogUnavailableError",
    "MaxTokensReachedException",
    "ModelConfigurationError",
    "ModelResponseError",
    "ModelThrottledException",
    "ModelUnavailableError",
    "NoWorkerError",
    "PlayheadError",
    "RecordNotFoundError",
    "RecordTooLargeError",
    "RedisAuthError",
    "RedisTooOldError",
    "RequestNotFoundError",
    "RewindError",
    "RunConflictError",
    "RunEndedError",
    "RunExistsError",
    "RunFailedError",
    "RunFileError",
    "RunNotFoundError",
    "ShardsError",
    "UnusableServerError",
    "WriteRefusedError",
    "remote_error",
]
