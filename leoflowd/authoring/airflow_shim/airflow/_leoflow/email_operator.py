"""`EmailOperator` without the provider: its task's process sends the mail itself (`runner/mail.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.email import send_email
from airflow._leoflow.errors import AirflowException
from airflow._leoflow.services import Connection


class EmailOperator(BaseOperator):
    """A mail by the SMTP connection `conn_id`; a subject or text that is missing is a template that its extra names."""

    kind = "python"
    template_fields: Sequence[str] = (
        "to",
        "subject",
        "html_content",
        "from_email",
        "files",
        "cc",
        "bcc",
        "mime_subtype",
        "mime_charset",
        "conn_id",
        "custom_headers",
    )
    template_ext: Sequence[str] = (".html",)
    template_fields_renderers = {"html_content": "html"}
    ui_color = "#e6faf9"

    def __init__(
        self,
        *,
        to: str | Iterable[str],
        subject: str | None = None,
        html_content: str | None = None,
        from_email: str | None = None,
        files: list[str] | None = None,
        cc: str | Iterable[str] | None = None,
        bcc: str | Iterable[str] | None = None,
        mime_subtype: str = "mixed",
        mime_charset: str = "utf-8",
        conn_id: str = "smtp_default",
        custom_headers: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.subject = subject
        self.html_content = html_content
        self.from_email = from_email
        self.files = files or []
        self.cc = cc
        self.bcc = bcc
        self.mime_subtype = mime_subtype
        self.mime_charset = mime_charset
        self.conn_id = conn_id
        self.custom_headers = custom_headers

    def execute(self, context: Any) -> None:
        """Raises for what the server does not take."""
        send_email(
            self.to,
            self._text("subject", context),
            self._text("html_content", context),
            files=self.files,
            cc=self.cc,
            bcc=self.bcc,
            mime_subtype=self.mime_subtype,
            mime_charset=self.mime_charset,
            conn_id=self.conn_id,
            custom_headers=self.custom_headers,
            from_email=self.from_email,
        )

    def _text(self, name: str, context: Any) -> str:
        given = getattr(self, name)
        if given is not None:
            return str(given)
        path = Connection.get(self.conn_id).extra_dejson.get(f"{name}_template")
        if not path:
            raise AirflowException(
                f"the mail has no {name}: give EmailOperator {name}=..., or name a file as {name}_template in the "
                f"extra of connection {self.conn_id!r}"
            )
        with open(path, encoding="utf-8") as file:
            return str(self.render_template(file.read().replace("\n", "").strip(), context))
