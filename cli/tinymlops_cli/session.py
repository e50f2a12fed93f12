"""The project and workspace of a command, found on first use."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tinymlops.config import FILE_NAME, Config, find_config, read_config
from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops.times import Clock, system_clock

if TYPE_CHECKING:
    from tinymlops.features.definitions.project import Project
    from tinymlops.workspace import Workspace

__all__ = ["Session", "locate", "use_clock"]

_clock: Clock = system_clock


class Session:
    """A project's directory, its settings and its workspace; a context manager that closes the workspace.

    While it is open, the project's directory is the working directory, so that relative paths in the project's code do not
    depend on where the command was typed. Paths in arguments are made absolute before.

    Args:
        project: The directory of `tinymlops.toml`; by default the nearest one, from the current directory upwards.
        workspace: The workspace's directory; by default the one in `tinymlops.toml`.
    """

    def __init__(self, project: Path | None = None, workspace: Path | None = None) -> None:
        self._project = project
        self._workspace = workspace
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def has_project(self) -> bool:
        """Whether there is a `tinymlops.toml`, or a workspace was named."""
        try:
            locate(self._project, self._workspace)
        except NotFoundError:
            return False
        return True

    @cached_property
    def root(self) -> Path:
        """The project's directory.

        Raises:
            NotFoundError: If there is no `tinymlops.toml`, and no workspace was named.
        """
        root = locate(self._project, self._workspace)
        self._stack.enter_context(contextlib.chdir(root))
        return root

    @cached_property
    def config(self) -> Config:
        """The settings of `tinymlops.toml`."""
        return read_config(self.root)

    @cached_property
    def path(self) -> Path:
        """The workspace's directory, which may not exist."""
        if self._workspace is not None:
            return self._workspace
        if self.config.workspace is None:
            raise DefinitionError(
                f"{self.root / FILE_NAME} names no workspace",
                hint='add a line such as workspace = "flights.tm", or use --workspace PATH',
            )
        return self.root / self.config.workspace

    @cached_property
    def workspace(self) -> Workspace:
        """The open workspace.

        Raises:
            NotFoundError: If there is none at `path`, with the near match.
        """
        from tinymlops.workspace import connect

        root = self.root
        return self._stack.enter_context(connect(self.path, root=root, clock=_clock))

    @cached_property
    def project(self) -> Project:
        """The one project that the modules of `tinymlops.toml` define.

        Raises:
            DefinitionError: If a module cannot be imported, or there is no project, or more than one.
        """
        from tinymlops_cli.loading import load_project

        return load_project(self.config.modules, self.root)


def use_clock(clock: Clock) -> None:
    """Let every session of this process open its workspace with a clock."""
    global _clock  # noqa: PLW0603 - a process works at one time
    _clock = clock


def locate(project: Path | None, workspace: Path | None) -> Path:
    """Return the project's directory.

    Raises:
        NotFoundError: If there is no `tinymlops.toml`, and no workspace was named.
    """
    if project is not None:
        if not (project / FILE_NAME).is_file():
            raise NotFoundError(f"there is no {FILE_NAME} in {project}", hint=f"make one: tinymlops init {project}")
        return project
    try:
        return find_config(Path.cwd())
    except NotFoundError:
        if workspace is None:
            raise
        # A workspace without a project can still be read; `connect` checks that it is one.
        return workspace.parent if workspace.parent.is_dir() else Path.cwd()
