"""The ways on which alerts are sent, as the environment and `tinymlops.toml` say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tinymlops.jobs.smtp import Mail, mail_server
from tinymlops.jobs.webhook import ADDRESS, Webhook
from tinymlops.secrets import read_secret, secret_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinymlops.config import AlertsConfig
    from tinymlops.jobs.delivery import Channel

__all__ = ["channels_of"]


def channels_of(alerts: AlertsConfig | None, root: Path, environment: Mapping[str, str] = os.environ) -> list[Channel]:
    """Return the ways on which alerts are sent.

    Args:
        alerts: What `tinymlops.toml` says of them.
        root: The directory where its paths start.
        environment: Name to value.

    Raises:
        NotFoundError: If a variable or a file is not there.
        AccessError: If others may read a file.
        DefinitionError: If the address of the webhook is not one of HTTP.
        DataError: If the URL of the mail server cannot be read.
    """
    found: list[Channel] = []
    address = read_secret(ADDRESS, environment)
    if address is not None:
        found.append(Webhook(address))
    if alerts is not None:
        write, example = 'smtp = "env:SMTP_URL"', "smtp://"
        url = secret_url(
            alerts.smtp, root, of="the mail server of alerts", write=write, example=example, environment=environment
        )
        found.append(Mail(mail_server(url), alerts.sender, alerts.to))
    return found
