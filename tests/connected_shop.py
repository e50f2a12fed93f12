"""A project with one source in a database of others."""

from contextlib import contextmanager

import tinymlops as tm

__all__ = ["applied", "define", "rows_of"]


def define(folder, url, text="orders", **options):
    """Write `tinymlops.toml` and return a project whose source `orders` reads a table or a SELECT."""
    (folder / "tinymlops.toml").write_text(f'[connections.shop]\nurl = "{url}"\n')
    project = tm.Project("shop")
    project.entity("customer", key="customer")

    @project.source(**{"connection": "shop", "timestamp": "at", "id": "order_id", **options})
    def orders() -> str:
        return text

    return project


@contextmanager
def applied(folder, url, text="orders", **options):
    """Give a function that applies the source, as given or changed, and returns the one workspace of a folder."""
    opened = []

    def make(changed=text, **more):
        project = define(folder, url, changed, **{**options, **more})
        if not opened:
            opened.append(tm.connect(folder / "shop.tm", create=True))
        opened[0].apply(project)
        return opened[0]

    try:
        yield make
    finally:
        for ws in opened:
            ws.close()


def rows_of(ws, columns="*"):
    """Return the rows that count now."""
    return ws.sql(f"select {columns} from orders order by order_id")
