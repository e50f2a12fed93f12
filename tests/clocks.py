"""A clock that tests set."""

from datetime import UTC, datetime

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class AnyClock:
    """A clock that goes as it is told, back too."""

    now = NOON

    def __call__(self):
        return self.now
