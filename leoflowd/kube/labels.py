"""Names of ours on objects of the cluster."""

from __future__ import annotations

DOMAIN = "leoflow.io"
INSTALLATION = f"{DOMAIN}/installation"
"""On everything of ours: many may share a namespace."""
TRY_ID = f"{DOMAIN}/try-id"
TRIGGER_HOST = f"{DOMAIN}/trigger-host"
DAEMON = f"{DOMAIN}/daemon"
"""Which one wants a trigger host."""
TRACEPARENT = f"{DOMAIN}/traceparent"
"""Annotation, where dag runs are traced: whoever leads tells of the pod."""
DAG_RUN_ID = f"{DOMAIN}/dag-run-id"
DAG_ID, RUN_ID, TASK_ID = f"{DOMAIN}/dag-id", f"{DOMAIN}/run-id", f"{DOMAIN}/task-id"
