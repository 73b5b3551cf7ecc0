"""`airflow.utils.email`: mails from a task or a callback. Their process sends them; a connection names the server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow._leoflow import supervisor


def send_email(
    to: str | Iterable[str],
    subject: str,
    html_content: str,
    files: list[str] | None = None,
    dryrun: bool = False,
    cc: str | Iterable[str] | None = None,
    bcc: str | Iterable[str] | None = None,
    mime_subtype: str = "mixed",
    mime_charset: str = "utf-8",
    conn_id: str | None = None,
    custom_headers: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """By the SMTP connection `conn_id`, else `smtp_default`. Raises for what the server does not take."""
    if dryrun:
        return
    supervisor.ask(
        "mail",
        {
            "to": get_email_address_list(to),
            "subject": subject,
            "html_content": html_content,
            "files": list(files or ()),
            "cc": get_email_address_list(cc or ()),
            "bcc": get_email_address_list(bcc or ()),
            "mime_subtype": mime_subtype,
            "mime_charset": mime_charset,
            "conn_id": conn_id,
            "custom_headers": dict(custom_headers or {}),
            "from_email": options.get("from_email"),
        },
    )


send_email_smtp = send_email


def get_email_address_list(addresses: str | Iterable[str]) -> list[str]:
    """A text with `,` or `;` between, or several texts."""
    texts = [addresses] if isinstance(addresses, str) else list(addresses)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"addresses must be texts, not {texts!r}")
    return [one.strip() for text in texts for one in re.split(r"[,;]", text) if one.strip()]
