"""Mails by SMTP, from the task's process: those of failed tries, of alerts, and what `send_email` of the shim sends.

The server is a connection of type `smtp`, read as Airflow's provider does, or `AIRFLOW__SMTP__*` where there is none.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import importlib
import json
import mimetypes
import os
import re
import smtplib
import ssl
from collections.abc import Iterable, Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

DEFAULT_CONNECTION = "smtp_default"
_TRUE = {"t", "true", "1", "yes"}


class CannotMail(RuntimeError):
    """The mail is not sent; the message says why, and what to do."""


class Server:
    """Where mails go."""

    def __init__(self, host: str, port: int | None, login: str, password: str, extra: Mapping[str, Any]) -> None:
        self.host = host
        self.uses_ssl = not _is_true(extra.get("disable_ssl"))
        self.uses_starttls = not self.uses_ssl and not _is_true(extra.get("disable_tls"))
        self.port = port or (smtplib.SMTP_SSL_PORT if self.uses_ssl else smtplib.SMTP_PORT)
        self.login = login
        self.password = password
        self.timeout_s = float(extra.get("timeout") or 30)
        self.from_email = str(extra.get("from_email") or "")

    def __repr__(self) -> str:
        return f"Server({self.host!r}, {self.port})"

    def open(self) -> smtplib.SMTP:
        """Logged in. Raises OSError and `smtplib.SMTPException`."""
        if self.uses_ssl:
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=self.timeout_s, context=ssl.create_default_context()
            )
        else:
            client = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
            if self.uses_starttls:
                client.starttls(context=ssl.create_default_context())
        if self.login and self.password:
            client.login(self.login, self.password)
        return client


def server_of(connection_id: str) -> Server:
    """Raises `CannotMail`."""
    exceptions = importlib.import_module("airflow.exceptions")
    try:
        found = importlib.import_module("airflow.sdk").Connection.get(connection_id)
    except exceptions.AirflowNotFoundException:
        return _server_of_environment(connection_id)
    extra = json.loads(found.extra) if found.extra else {}
    return Server(found.host or "", found.port, found.login or "", found.password or "", extra)


def _server_of_environment(connection_id: str) -> Server:
    host = _option("smtp_host")
    if connection_id != DEFAULT_CONNECTION or not host:
        raise CannotMail(
            f"there is no connection {connection_id!r}, which names the SMTP server; add one of type smtp, "
            "or set AIRFLOW__SMTP__SMTP_HOST"
        )
    extra = {
        "disable_ssl": not _is_true(_option("smtp_ssl")),
        "disable_tls": _option("smtp_starttls").lower() == "false",
        "timeout": _option("smtp_timeout"),
        "from_email": _option("smtp_mail_from"),
    }
    port = _option("smtp_port")
    return Server(host, int(port) if port else None, _option("smtp_user"), _option("smtp_password"), extra)


def _option(name: str, section: str = "smtp") -> str:
    return os.environ.get(f"AIRFLOW__{section.upper()}__{name.upper()}", "")


def _is_true(value: Any) -> bool:
    return value.strip().lower() in _TRUE if isinstance(value, str) else bool(value)


def addresses(given: Any) -> list[str]:
    """A text with `,` or `;` between, or several texts."""
    texts = [given] if isinstance(given, str) else list(given or ())
    return [one.strip() for text in texts for one in re.split(r"[,;]", str(text)) if one.strip()]


def send(
    *,
    to: Any,
    subject: str,
    html_content: str,
    files: Iterable[str] | None = None,
    cc: Any = None,
    bcc: Any = None,
    from_email: str | None = None,
    conn_id: str | None = None,
    custom_headers: Mapping[str, Any] | None = None,
    mime_subtype: str = "mixed",
    mime_charset: str = "utf-8",
) -> list[str]:
    """Whom it went to. Raises `CannotMail`, also for what the server says."""
    everyone = [*addresses(to), *addresses(cc), *addresses(bcc)]
    if not everyone:
        raise CannotMail("the mail has nobody to go to; name an address")
    connection_id = conn_id or DEFAULT_CONNECTION
    server = server_of(connection_id)
    message = _message(subject, html_content, mime_charset, custom_headers or {})
    sender = from_email or server.from_email or _option("from_email", "email") or "airflow@localhost"
    message["From"], message["To"] = sender, ", ".join(addresses(to))
    if addresses(cc):
        message["Cc"] = ", ".join(addresses(cc))
    for path in files or ():
        _attach(message, path)
    if message.is_multipart():
        message.set_type(f"multipart/{mime_subtype}")
    try:
        with server.open() as client:
            client.send_message(message, from_addr=sender, to_addrs=everyone)
    except (OSError, smtplib.SMTPException) as error:
        raise CannotMail(
            f"the SMTP server {server.host}:{server.port} of connection {connection_id!r} did not take the mail: "
            f"{type(error).__name__}: {error}; look at its host, port, and disable_ssl and disable_tls in its extra"
        ) from error
    return everyone


def _message(subject: str, html_content: str, charset: str, headers: Mapping[str, Any]) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = " ".join(str(subject).split())
    message["Date"], message["Message-ID"] = formatdate(localtime=True), make_msgid(domain="leoflow")
    for name, value in headers.items():
        message[name] = str(value)
    message.set_content(str(html_content), subtype="html", charset=charset)
    return message


def _attach(message: EmailMessage, path: str) -> None:
    kind, _, subkind = (mimetypes.guess_type(path)[0] or "application/octet-stream").partition("/")
    with open(path, "rb") as file:
        message.add_attachment(file.read(), maintype=kind, subtype=subkind, filename=os.path.basename(path))
