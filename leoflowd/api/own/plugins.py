"""How our own pages join the unmodified UI: as `external_views` of one plugin, which `GET /api/v2/plugins` answers.

The UI shows such a page in an iframe: under its navigation (`nav`), or as a tab of a Dag, run or task instance, with
`{DAG_ID}`, `{RUN_ID}`, `{TASK_ID}` and `{MAP_INDEX}` filled in. A new page is one more entry of VIEWS
and one more file in `ui_static/`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from leoflowd.api.context import ApiContext


class View(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    page: str
    """Path below the base path, with Airflow's placeholders."""
    url_route: str
    destination: str = "nav"
    category: str | None = None
    """Menu of the navigation; None puts the page beside Home and Dags."""
    needs_workspace: bool = False
    """Lite's alone."""


VIEWS = (
    View(name="Waits", page="leoflow/pool", url_route="leoflow-waits"),
    View(name="Schedule what-if", page="leoflow/what-if", url_route="leoflow-what-if", category="browse"),
    View(name="Schedule lag", page="leoflow/lag", url_route="leoflow-lag", category="browse"),
    View(name="Log search", page="leoflow/log-search", url_route="leoflow-log-search", category="browse"),
    View(name="Editor", page="leoflow/editor", url_route="leoflow-editor", category="browse", needs_workspace=True),
    View(name="Daemon tree", page="leoflow/tree", url_route="leoflow-tree", category="browse"),
    View(
        name="Explain",
        page="leoflow/explain?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
        url_route="leoflow-explain",
        destination="task_instance",
    ),
    View(
        name="Explain",
        page="leoflow/explain?dag_id={DAG_ID}&run_id={RUN_ID}",
        url_route="leoflow-explain-run",
        destination="dag_run",
    ),
    View(
        name="Compare",
        page="leoflow/run-diff?dag_id={DAG_ID}&run_id={RUN_ID}",
        url_route="leoflow-run-diff",
        destination="dag_run",
    ),
    View(name="Explain", page="leoflow/explain?dag_id={DAG_ID}", url_route="leoflow-explain-dag", destination="dag"),
)


def external_views(context: ApiContext) -> list[dict[str, Any]]:
    """Airflow's ExternalViewResponse for each of our pages."""
    base = context.config.base_path
    icon = f"{base}leoflow/static/mark.svg"
    return [
        {
            "name": view.name,
            "href": base + view.page,
            "icon": icon,
            "icon_dark_mode": icon,
            "url_route": view.url_route,
            "category": view.category,
            "destination": view.destination,
        }
        for view in VIEWS
        if context.editor is not None or not view.needs_workspace
    ]


def _home_card(context: ApiContext) -> dict[str, Any]:
    """Airflow's ReactAppResponse: the page of the schedule's lag in a frame on the home page. Its script sets what is
    named here on the window."""
    return {
        "name": "LeoflowHomeCard",
        "bundle_url": f"{context.config.base_path}leoflow/static/home-card.js",
        "icon": None,
        "icon_dark_mode": None,
        "url_route": None,
        "category": None,
        "destination": "dashboard",
    }


def plugins(context: ApiContext) -> list[dict[str, Any]]:
    """The whole list for `GET /api/v2/plugins`: Airflow's PluginResponse, every key there."""
    return [
        {
            "name": "leoflow",
            "macros": [],
            "flask_blueprints": [],
            "fastapi_apps": [],
            "fastapi_root_middlewares": [],
            "external_views": external_views(context),
            "react_apps": [_home_card(context)],
            "appbuilder_views": [],
            "appbuilder_menu_items": [],
            "global_operator_extra_links": [],
            "operator_extra_links": [],
            "source": f"leoflow {context.version}",
            "listeners": [],
            "timetables": [],
        }
    ]
