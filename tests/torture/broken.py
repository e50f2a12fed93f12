"""Deliberate mistakes, made in a child process: a check for such mistakes must find these."""

from contextlib import contextmanager

from tinymlops.features.intake import latest_events, streams
from tinymlops.stores import _opening, _verify, blobs, database, migrations, publish, segments


def commit_before_publish():
    """Let files appear only after the commit that names them."""
    real, write = publish.publish, database.Database.write
    waiting = []

    def late(writer, target, tmp):
        published = real(writer, lambda sha256: tmp / "late" / sha256, tmp)
        waiting.append((published.path, target(published.sha256)))
        return published._replace(path=waiting[-1][1])

    @contextmanager
    def first(self, *, actor):
        with write(self, actor=actor) as transaction:
            yield transaction
        while waiting:
            source, target = waiting.pop()
            target.parent.mkdir(exist_ok=True)
            source.rename(target)

    blobs.publish = segments.publish = late
    database.Database.write = first


def no_fsync():
    """Leave out the fsync of files."""
    publish.fsync = lambda descriptor: None


def rename_before_fsync():
    """Rename a file first, and make it durable after that."""
    real, fsync = publish.publish, publish.fsync

    def publish_early(writer, target, tmp):
        publish.fsync = lambda descriptor: None
        try:
            published = real(writer, target, tmp)
        finally:
            publish.fsync = fsync
        with published.path.open("rb") as file:
            fsync(file.fileno())
        publish.fsync_directory(published.path.parent)
        return published

    blobs.publish = segments.publish = publish_early


def trust_the_clock():
    """Let a later push have an earlier time where the clock was set back."""
    of = latest_events.LatestEvents.of
    latest_events.LatestEvents.of = lambda self, ids: {
        name: event._replace(created=0) for name, event in of(self, ids).items()
    }


def no_directory_fsync():
    """Leave out the fsync of the directory that a file was renamed in."""
    publish.fsync_directory = lambda directory: None


def migrate_without_transaction():
    """Commit each part of a migration by itself."""

    def migrate(connection):
        from sqlite_utils import Database

        migrations._steps().apply(Database(connection))
        connection.execute(f"PRAGMA user_version = {migrations.SCHEMA_VERSION}")
        _verify.seal_schema(connection)

    _opening.migrate = migrate


def position_after_rows():
    """Write how far a file is read after the commit of its rows."""
    push = streams.push

    def late(context, name, rows, *, batch_id, beside):
        pushed = push(context, name, rows, batch_id=batch_id, beside=lambda tx: None)
        with context.scope.write(audit=None) as tx:
            beside(tx)
        return pushed

    streams.push = late
