"""What every route may use, built once by `assembly/` and handed to `create_app`.

Routes reach it through `context()`. It holds no state of a request; who is calling is in `auth.caller()`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from quart import current_app, g

from leoflowd.api.admission import Admission
from leoflowd.api.identity_provider import IdentityProvider
from leoflowd.api.ui.summary_lines import SummaryMemory
from leoflowd.config import ApiConfig, RetentionConfig
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.logs import LogStore
from leoflowd.contract.pool_view import Pool
from leoflowd.contract.workspace_files import WorkspaceEditor
from leoflowd.store.database import Database, LaneShare
from leoflowd.store.secret_box import SecretBox
from leoflowd.supervision import Fault

_KEY = "LEOFLOW_CONTEXT"
NOBODY = ""
"""Who has not said who he is: all of them share one part of the connections."""


@dataclass(frozen=True, kw_only=True)
class ApiContext:
    db: Database
    logs: LogStore
    config: ApiConfig
    now: Callable[[], datetime]
    """The UTC clock; no route reads another one."""
    tree: Callable[[], object]
    """JSON-ready tree of the daemon's components with state, restarts and statistics."""
    version: str
    faults: Callable[[], tuple[Fault, ...]] = tuple
    """Components that are of no use now, and why."""
    pool: Pool | None = None
    """This daemon's share of the cheap-task pool; None: it has none."""
    secrets: SecretBox = field(default_factory=lambda: SecretBox(dict))
    """What connections are encrypted with; without a key, those with secrets are refused."""
    admission: Admission = field(default_factory=Admission)
    """Whose versions are taken; of anybody, as in Lite, unless told otherwise."""
    oidc: IdentityProvider | None = None
    """Who vouches for people beside our own passwords; None: nobody, as in Lite."""
    summaries: SummaryMemory = field(default_factory=SummaryMemory)
    """Lines of the grid, of runs that have ended."""
    paused_at_creation: bool = False
    """A new DAG begins paused, where its file says nothing of it."""
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Sections of the configuration by name, secrets and all: `public.settings` masks them."""
    is_building: Callable[[str], bool] = lambda try_id: False
    """Does this try wait, in this daemon, for its environment to be built?"""
    reparse: Callable[[str], bool] | None = None
    """Has the workspace compile the file of this DAG again; False: no file of it has such a DAG. None: no workspace."""
    editor: WorkspaceEditor | None = None
    """The workspace's files, for the web editor. None: no workspace, and no route of the editor is there."""
    test_connection: Callable[[ConnectionFacts], Awaitable[tuple[bool, str]]] | None = None
    """Tries a connection for a person: whether it works, and a sentence. None: this process cannot."""


def context() -> ApiContext:
    """The context of the application that answers the current request."""
    found = current_app.config[_KEY]
    assert isinstance(found, ApiContext)
    return found


def lane() -> LaneShare:
    """The connections that browser and API traffic shares, as far as the caller may have them; `async with
    lane().transaction() as conn`."""
    caller = g.get("caller")
    return context().db.api.share_of(NOBODY if caller is None else caller.username)


def bind_context(config: dict[str, object], value: ApiContext) -> None:
    """Called by `create_app` alone."""
    config[_KEY] = value
