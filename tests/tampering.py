"""Changing the audit log behind the back of its guards, as who can write the file could."""

import sqlite3
from contextlib import closing

import msgspec

from tinymlops.records import AuditEntry
from tinymlops.stores.rows import CHECK, check_of

_FIELDS = AuditEntry.__struct_fields__


def forge(path, change, *, chained=False, counted=False):
    """Rewrite the audit log of `meta.db`, with valid checksums of rows and the same triggers after as before.

    Args:
        path: The database of a workspace that nothing has open.
        change: From the list of entries, each a list of stored values, to the list that there will be.
        chained: Whether numbers and hashes are computed anew, so that every entry follows from the one before.
        counted: Whether the counter of entries is adjusted too.
    """
    import hashlib

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        names = ", ".join(_FIELDS)
        rows = change([list(row) for row in connection.execute(f"SELECT {names} FROM audit ORDER BY n")])
        previous = "0" * 64
        for number, row in enumerate(rows, start=1):
            if chained:
                row[0], row[6] = number, previous
                previous = row[7] = hashlib.sha256(msgspec.json.encode(row[:7])).hexdigest()
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM audit")
        places = ", ".join("?" * (len(_FIELDS) + 1))
        connection.executemany(
            f"INSERT INTO audit ({names}, {CHECK}) VALUES ({places})", [[*row, check_of(row)] for row in rows]
        )
        if counted:
            count = max((row[0] for row in rows), default=0)
            values = ("audit", count)
            connection.execute(
                f"UPDATE counters SET value = ?, {CHECK} = ? WHERE name = 'audit'", (count, check_of(values))
            )
        for _, sql in triggers:
            connection.execute(sql)
