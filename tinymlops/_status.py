"""The status of a feature cell: why it holds what it holds."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Status"]


class Status(IntEnum):
    """The state of one cell of a point-in-time join; the first that fits, in this order.

    Example:
        >>> Status(4).name
        'EXPIRED'
    """

    NULL_KEY = 0
    """A part of the spine row's key is null, so it can match nothing."""
    DELETED = 1
    """The newest visible fact is a delete."""
    PRESENT = 2
    """A record matched and its value is not null."""
    NULL_VALUE = 3
    """A record matched and its value is null: the newest row wins even then."""
    EXPIRED = 4
    """A record is visible, but each is older than the ttl allows."""
    NOT_YET_AVAILABLE = 5
    """It had happened by the spine time, but was not available by then."""
    NOT_FOUND = 6
    """No record of this key had happened by the spine time."""
    NOT_EMBEDDED = 7
    """A record matched and its text has no vector yet, or none can be made of it."""
