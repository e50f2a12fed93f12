"""A project with one source in a database of others."""

import tinymlops as tm

__all__ = ["define", "rows_of"]


def define(folder, url, text="orders", **options):
    """Write `tinymlops.toml` and return a project whose source `orders` reads a table or a SELECT."""
    (folder / "tinymlops.toml").write_text(f'[connections.shop]\nurl = "{url}"\n')
    project = tm.Project("shop")
    project.entity("customer", key="customer")

    @project.source(**{"connection": "shop", "timestamp": "at", "id": "order_id", **options})
    def orders() -> str:
        return text

    return project


def rows_of(ws, columns="*"):
    """Return the rows that count now."""
    return ws.sql(f"select {columns} from orders order by order_id")
