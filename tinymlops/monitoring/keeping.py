"""Keep what `monitor` found, so that who looks at it reads a row and not all predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import IntegrityError
from tinymlops.monitoring.report import MonitorReport
from tinymlops.records import KeptMonitorReport
from tinymlops.stores.json_text import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database

__all__ = ["KeptReport", "keep_report", "kept_reports", "last_report"]


class KeptReport(NamedTuple):
    """A report and when it was made."""

    at: datetime
    report: MonitorReport


def keep_report(scope: Scope, report: MonitorReport) -> None:
    """Keep a report in place of the one before of the same day.

    Args:
        scope: Who works on which workspace.
        report: Of all predictions of a version.
    """
    now = scope.clock()
    record = KeptMonitorReport(
        model=report.model,
        version=report.version,
        day=f"{now:%Y-%m-%d}",
        at=now,
        content=to_json(report).encode(),
    )
    with scope.write("monitor.keep", f"{report.model}:{report.version}", predictions=report.predictions) as tx:
        tx.put(record)


def kept_reports(database: Database, model: str, version: int, *, days: int = 30) -> list[KeptReport]:
    """Return the kept reports on a version, the newest first.

    Args:
        database: Of the workspace.
        model: The model's name.
        version: The version's number.
        days: The most to return, one of each day.

    Raises:
        IntegrityError: If one is not a report.
    """
    found = database.list(KeptMonitorReport, where={"model": model, "version": version}, order="-day", limit=days)
    return [KeptReport(one.at, _read(one)) for one in found]


def last_report(database: Database, model: str, version: int) -> KeptReport | None:
    """Return the last kept report on a version; None if there is none.

    Args:
        database: Of the workspace.
        model: The model's name.
        version: The version's number.

    Raises:
        IntegrityError: If it is not a report.
    """
    return next(iter(kept_reports(database, model, version, days=1)), None)


def _read(record: KeptMonitorReport) -> MonitorReport:
    try:
        # A metric that is not finite is a text, such as "NaN", which only this reads as a number.
        return msgspec.json.decode(record.content, type=MonitorReport, strict=False)
    except msgspec.MsgspecError as error:
        raise IntegrityError(
            f"the report on {record.model}:{record.version} of {record.day} cannot be read: {error}",
            hint=f"make it again: tinymlops monitor {record.model}:{record.version} --keep",
        ) from error
