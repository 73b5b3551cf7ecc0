"""What Leoflow itself says of an end: Airflow's mail of a failed try, and the alerts of leoflow.yaml. No user code.

The facts are those of `callback_spec.CallbackCall`, as plain data.
"""

from __future__ import annotations

import base64
import html
import importlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from . import mail

ANSWER_WITHIN_S = 15.0
_SAID = {"failure": "failed", "success": "succeeded", "retry": "failed and is tried again", "skipped": "was skipped"}


class CannotTell(RuntimeError):
    """An alert was not taken; the message says why."""


def of(spec: dict[str, Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(what it is, what sends it), in their order."""
    call = spec["callback"]
    if call.get("email"):
        yield f"the mail to {', '.join(call['email'])}", lambda: _mail_of_try(spec)
    for alert in call.get("alerts", ()):
        yield f"the {alert['kind']} alert of connection {alert['connection']!r}", _sender(spec, alert)


def _sender(spec: dict[str, Any], alert: dict[str, Any]) -> Callable[[], Any]:
    send = {"email": _mail_alert, "slack": _post_to_slack, "webhook": _post}[alert["kind"]]
    return lambda: send(spec, alert)


# --- mails -----------------------------------------------------------------------------------------------------------


def _mail_of_try(spec: dict[str, Any]) -> None:
    """With the facts that Airflow's has; its texts are data, and shown as such."""
    call, page = spec["callback"], url_of(spec)
    lines = (
        f"Try {spec['try_number']} out of {spec['max_tries'] + 1}",
        f"Exception:<br>{_escaped(call.get('because') or 'none')}",
        f'Log: <a href="{html.escape(page)}">Link</a>',
        f"Host: {_escaped(os.uname().nodename)}",
        f'Mark success: <a href="{html.escape(page)}">Link</a>',
    )
    mail.send(to=call["email"], subject=f"Airflow alert: {_title(spec)}", html_content="<br>\n".join(lines))


def _title(spec: dict[str, Any]) -> str:
    """As Airflow shows a task instance."""
    index = f" map_index={spec['map_index']}" if spec.get("map_index", -1) >= 0 else ""
    run = spec["dag_run"]
    return f"<TaskInstance: {run['dag_id']}.{spec['task_id']} {run['run_id']}{index} [{spec['callback']['state']}]>"


def _mail_alert(spec: dict[str, Any], alert: dict[str, Any]) -> None:
    text = _escaped(sentence(spec))
    body = f'{text}<br>\n<a href="{html.escape(url_of(spec))}">{_escaped(url_of(spec))}</a>'
    mail.send(to=alert["to"], subject=_subject(spec), html_content=body, conn_id=alert["connection"])


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


# --- posts -----------------------------------------------------------------------------------------------------------


def _post_to_slack(spec: dict[str, Any], alert: dict[str, Any]) -> None:
    """To an incoming webhook: the whole address is the password, or the last part of it."""
    found = _connection(alert["connection"])
    secret = found.password or ""
    url = secret if "://" in secret else f"{_base(found)}/{secret}".rstrip("/")
    _send(url, {"text": f"{sentence(spec)}\n{url_of(spec)}"}, {}, alert["connection"])


def _post(spec: dict[str, Any], alert: dict[str, Any]) -> None:
    """The facts as JSON; login and password go as basic authentication."""
    found, call, run = _connection(alert["connection"]), spec["callback"], spec["dag_run"]
    facts = {
        "event": call["event"] if call["of_dag"] else f"task_{call['event']}",
        "dag_id": run["dag_id"],
        "run_id": run["run_id"],
        "task_id": spec["task_id"] or None,
        "map_index": spec.get("map_index", -1),
        "try_number": spec["try_number"],
        "state": call["state"],
        "reason": call.get("reason"),
        "because": call.get("because", ""),
        "start_date": call.get("start_date"),
        "end_date": call.get("end_date"),
        "url": url_of(spec),
    }
    headers = {}
    if found.login:
        pair = f"{found.login}:{found.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    _send(_base(found), facts, headers, alert["connection"])


def _connection(connection_id: str) -> Any:
    exceptions = importlib.import_module("airflow.exceptions")
    try:
        return importlib.import_module("airflow.sdk").Connection.get(connection_id)
    except exceptions.AirflowNotFoundException as error:
        raise CannotTell(f"there is no connection {connection_id!r}; add it, it holds the address") from error


def _base(found: Any) -> str:
    host = found.host or ""
    if "://" in host:
        return host.rstrip("/")
    return f"{found.schema or 'https'}://{host}{f':{found.port}' if found.port else ''}"


def _send(url: str, content: dict[str, Any], headers: dict[str, str], connection_id: str) -> None:
    """Raises `CannotTell`, without the address: there may be a secret in it."""
    if not url.startswith(("http://", "https://")):
        raise CannotTell(f"the address in connection {connection_id!r} is no http or https URL; correct its host")
    body = json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers}, method="POST")  # noqa: S310  # checked above
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S):  # noqa: S310  # checked above
            pass
    except urllib.error.HTTPError as error:
        raise CannotTell(f"the address of connection {connection_id!r} answered {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise CannotTell(f"the address of connection {connection_id!r} was not reached: {error}") from None


# --- words -----------------------------------------------------------------------------------------------------------


def _subject(spec: dict[str, Any]) -> str:
    call, run = spec["callback"], spec["dag_run"]
    who = run["dag_id"] if call["of_dag"] else f"{run['dag_id']}.{spec['task_id']}"
    return f"Leoflow: {who} {_SAID[call['event']]}"


def sentence(spec: dict[str, Any]) -> str:
    """Who, what became of it, and why."""
    call, run = spec["callback"], spec["dag_run"]
    index = f"[{spec['map_index']}]" if spec.get("map_index", -1) >= 0 else ""
    who = f"DAG {run['dag_id']}" if call["of_dag"] else f"Task {run['dag_id']}.{spec['task_id']}{index}"
    tries = "" if call["of_dag"] else f", try {spec['try_number']} of {spec['max_tries'] + 1}"
    because = f": {call['because']}" if call.get("because") else ""
    return f"{who} {_SAID[call['event']]} (run {run['run_id']}{tries}){because}"


def url_of(spec: dict[str, Any]) -> str:
    """Its page in the UI, which is at `[api] base_url`."""
    conf = importlib.import_module("airflow.configuration").conf
    base, run = str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/"), spec["dag_run"]
    page = f"{base}/dags/{run['dag_id']}/runs/{quote(run['run_id'])}"
    if spec["callback"]["of_dag"]:
        return page
    index = f"/mapped/{spec['map_index']}" if spec.get("map_index", -1) >= 0 else ""
    return f"{page}/tasks/{spec['task_id']}{index}?try_number={spec['try_number']}"
