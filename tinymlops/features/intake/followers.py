"""Followers: derived data that is kept up to date with the sequence of rows, and the one loop that drives them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tinymlops.features.online.follower import OnlineViews

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import ViewSpec
    from tinymlops.stores.environment import Environment

__all__ = ["Follower", "follow", "followers_of", "keep_up"]


class Follower(Protocol):
    """Something that is derived from the rows of the workspace, and can be rebuilt from them."""

    def covers(self) -> int:
        """Return the sequence up to which it has all rows; the workspace's if it holds nothing.

        Raises:
            IntegrityError: If it has rows that the workspace no longer has.
        """

    def follow(self) -> None:
        """Take the rows that it does not have yet.

        Raises:
            TinyMLOpsError: If it cannot take all of them; it keeps those that it could take.
        """

    def rebuild(self) -> None:
        """Rebuild from history what it had and lost; do nothing if it lost nothing.

        Raises:
            TinyMLOpsError: If it cannot; the next process to open the workspace tries again.
        """


def followers_of(environment: Environment, context: Callable[[], Context]) -> list[Follower]:
    """Return all followers of a workspace.

    Args:
        environment: The workspace's stores.
        context: Returns the workspace's state; called only when a follower has work to do.
    """
    return [OnlineViews(environment, context, _judge)]


def _judge(context: Context, view: ViewSpec, after: int) -> None:
    from tinymlops.features.intake.view_checks import judge_view  # loaded only where there is work

    judge_view(context, view, after)


def keep_up(followers: Sequence[Follower], sequence: Callable[[], int], *, rebuild: bool = False) -> list[Exception]:
    """Let followers take new rows; a failure of one does not stop the others.

    Args:
        followers: The followers.
        sequence: Returns the workspace's sequence.
        rebuild: Also rebuild what they lost.

    Returns:
        The errors of those that could not.

    Raises:
        IntegrityError: If one has rows that the workspace no longer has.
    """
    failed = list[Exception]()
    for follower in followers:
        steps = [follower.follow] if follower.covers() != sequence() else []
        steps += [follower.rebuild] if rebuild else []
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001  # of whatever kind: the user's code may raise anything
                failed.append(error)
    return failed


def follow(context: Context) -> list[Exception]:
    """Let all followers of a workspace take the committed rows; return the errors of those that could not.

    One thread does the work for all that wait meanwhile: when their turn comes, nothing is left to do.
    """
    followers = followers_of(context.environment, lambda: context)
    with context.environment.following:
        return keep_up(followers, context.environment.database.sequence)
