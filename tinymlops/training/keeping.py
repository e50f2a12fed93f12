"""What a run in progress keeps as files."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.frames import Frame
    from tinymlops.records import Artifact
    from tinymlops.registry.runs import Runs
    from tinymlops.training.contents.content import Content

__all__ = ["KeepsFiles"]


class KeepsFiles(ABC):
    """The part of a run in progress that logs files."""

    id: str
    _runs: Runs

    @abstractmethod
    def _require_open(self) -> None:
        """Raise if the run has ended."""

    def log_artifact(self, name: str, content: str | Path | bytes) -> Artifact:
        """Store a file (by its path), or bytes, under a name; a directory is stored by `log_artifacts`."""
        self._require_open()
        if isinstance(content, str | Path) and os.path.isdir(content):
            raise DataError(
                f"{content} is a directory", hint=f"store all that is in it: run.log_artifacts({name!r}, path)"
            )
        return self._runs.log_artifact(self.id, name, content)

    def log_artifacts(self, name: str, directory: str | Path) -> list[Artifact]:
        """Store every file below a directory under a name and the way to it, such as `model/weights/0.bin`.

        Args:
            name: The first part of each name; empty for none.
            directory: Its path.

        Raises:
            DataError: If it holds no file, or something else than files and directories, such as a symbolic link.
            ConflictError: If a file changes while it is read.
        """
        from tinymlops.training.contents.directories import directory_files

        self._require_open()
        return self._runs.log_files(self.id, directory_files(name, Path(directory)))

    def log_text(self, name: str, text: str) -> Artifact:
        """Store a text as a file; a name without a suffix gets `.txt`."""
        from tinymlops.training.contents.text import text_content

        self._require_open()
        return self._keep(text_content(name, text))

    def log_table(self, name: str, table: Frame) -> Artifact:
        """Store a table, which `table` returns.

        Args:
            name: Such as "errors"; it is stored as Parquet, which keeps every type, or as JSON if the name ends so.
            table: Polars, pandas, Arrow, a dict of columns or a list of dicts.
        """
        from tinymlops.training.contents.tables import table_content

        self._require_open()
        return self._keep(table_content(name, table))

    def log_figure(self, name: str, figure: Any) -> Artifact:
        """Store a figure.

        Args:
            name: Such as "plots/roc"; its suffix chooses the format, such as `.svg`.
            figure: A figure of matplotlib, which is stored as PNG; a chart of Altair, as its specification, and as PNG
                where vl-convert is installed; a figure of Plotly, as its specification; or the bytes or path of a picture.

        Returns:
            The specification of a chart, the picture of anything else.
        """
        from tinymlops.training.contents.figures import figure_contents

        self._require_open()
        first, *_ = [self._keep(content) for content in figure_contents(name, figure)]
        return first

    def log_image(self, name: str, image: Any, *, step: float | None = None) -> Artifact:
        """Store an image, or one step of a series of images.

        Args:
            name: Such as "samples"; the image of step 3 is `samples/3.png`.
            image: An array of height x width, or x 1, 3 or 4 channels, of bytes or of floats from 0 to 1; an image of Pillow;
                or the bytes or path of a PNG or JPEG file.
            step: The step of the training.
        """
        from tinymlops.training.contents.images import image_content

        self._require_open()
        return self._keep(image_content(name, image, step=step))

    def table(self, name: str) -> pl.DataFrame:
        """Return a table that the run has stored.

        Raises:
            NotFoundError: If there is none of that name.
        """
        return self._runs.table(self.id, name)

    def _keep(self, content: Content) -> Artifact:
        return self._runs.log_artifact(
            self.id, content.name, content.content, kind=content.kind, series=content.series, step=content.step
        )
