"""Jinja in the task process, as Airflow renders it: sandboxed, undefined names are errors, files by their ending.

jinja2 is a library of the DAG's environment; it is only needed when a text really has something to render.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from . import limits
from .secret_forms import MASK, names_a_secret

_FIELD_LENGTH = 4096
"""Airflow's `max_templated_field_length`."""
_HOMES = ("/usr/local/airflow/", "/opt/airflow/", "/home/airflow/gcs/")
"""Of Astro, Airflow's own image, and Composer."""
_LEVELS = 64
"""Of nesting that are shown."""


class CannotRender(RuntimeError):
    """Something that rendering needs is not there."""


def renderer(dag: Any, operator: Any, context: Any, bundle: str, source_path: str) -> Callable[[str], Any]:
    """`render(text)`: one that ends like `operator.template_ext` is a file beside the source or on a search path."""
    endings = _endings(operator)
    is_native, options = _is_native(dag, operator), dag.jinja_environment_kwargs
    environment: Any = None

    def render(text: str) -> Any:
        nonlocal environment
        is_file = bool(endings) and text.endswith(endings)
        if not is_file and not is_native and not options and "{" not in text and not text.endswith("\n"):
            return text
        if environment is None:
            environment = environment_of(dag, operator, bundle, source_path)
        template = environment.get_template(text) if is_file else environment.from_string(text)
        return template.render(context)

    return render


def environment_of(dag: Any, operator: Any, bundle: str, source_path: str) -> Any:
    """The Jinja environment of an operator. Raises `CannotRender`."""
    folder = os.path.dirname(os.path.join(bundle, source_path))
    below = (os.path.join(folder, path) for path in dag.template_searchpath or ())
    folders = [folder, *search_paths(dag, bundle), *below]
    options = dict(dag.jinja_environment_kwargs or {})
    return _environment(dag, folders, is_native=_is_native(dag, operator), options=options)


def _endings(operator: Any) -> tuple[str, ...]:
    return tuple(getattr(operator, "template_ext", ()) or ())


def _is_native(dag: Any, operator: Any) -> bool:
    own = getattr(operator, "render_template_as_native_obj", None)
    return bool(dag.render_template_as_native_obj if own is None else own)


class Templates:
    """What a task's own `render_template` and `get_template_env` use. `resolve` is the shim's, with outputs pulled."""

    def __init__(self, dag: Any, operator: Any, source: tuple[str, str], resolve: Callable[..., Any]) -> None:
        self._dag = dag
        self._operator = operator
        self._source = source
        self._resolve = resolve

    def of(self, other: Any) -> Templates:
        """For something else that has template fields, in the same DAG."""
        return Templates(self._dag, other, self._source, self._resolve)

    def environment(self) -> Any:
        return environment_of(self._dag, self._operator, *self._source)

    def render(self, content: Any, context: Any, environment: Any = None) -> Any:
        environment = environment or self.environment()
        endings = _endings(self._operator)

        def text(value: str) -> Any:
            is_file = bool(endings) and value.endswith(endings)
            return (environment.get_template(value) if is_file else environment.from_string(value)).render(context)

        return self._resolve(content, text=text, context=context)


def search_paths(dag: Any, bundle: str) -> list[str]:
    """The DAG's, which are below Airflow's home where they are relative; its home is the bundle here."""
    given = [dag.template_searchpath] if isinstance(dag.template_searchpath, str) else dag.template_searchpath or ()
    return [os.path.join(bundle, _below_home(os.fspath(path))) for path in given]


def _below_home(path: str) -> str:
    """Relative to the home of an image of Airflow, where the author names that and this machine has no such folder."""
    home = next((home for home in _HOMES if f"{path}/".startswith(home)), "")
    return path if not home or os.path.isdir(path) else path[len(home) :]


def _environment(dag: Any, folders: list[str], *, is_native: bool, options: dict[str, Any]) -> Any:
    try:
        import jinja2
        import jinja2.nativetypes
        import jinja2.sandbox
    except ImportError as error:
        raise CannotRender(
            "this task has templates, and jinja2 is not in the DAG's environment; "
            "add jinja2 to `dependencies` in leoflow.yaml"
        ) from error

    class Sandboxed(jinja2.sandbox.SandboxedEnvironment):
        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            # As in Airflow: `_names` of the author's own objects are allowed, Python's internals are not.
            return not jinja2.sandbox.is_internal_attribute(obj, attr)

    base = jinja2.nativetypes.NativeEnvironment if is_native else Sandboxed
    settings: dict[str, Any] = {
        "loader": jinja2.FileSystemLoader(folders),
        "undefined": dag.template_undefined or jinja2.StrictUndefined,
        "extensions": ["jinja2.ext.do"],
        "cache_size": 0,
        **options,
    }
    environment = base(**settings)
    environment.filters.update(_FILTERS)
    environment.filters.update(dag.user_defined_filters or {})
    environment.globals.update(dag.user_defined_macros or {})
    return environment


def _date_filter(convert: Callable[[Any], str]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


_FILTERS = {
    "ds": _date_filter(lambda value: value.strftime("%Y-%m-%d")),
    "ds_nodash": _date_filter(lambda value: value.strftime("%Y%m%d")),
    "ts": _date_filter(lambda value: value.isoformat()),
    "ts_nodash": _date_filter(lambda value: value.strftime("%Y%m%dT%H%M%S")),
    "ts_nodash_with_tz": _date_filter(lambda value: value.isoformat().replace("-", "").replace(":", "")),
}


def shown_fields(operator: Any, redact: Callable[[str], str]) -> dict[str, Any]:
    """Rendered template fields for the UI: JSON-ready, without secrets by name or by value, long values cut."""
    return {
        name: _cut(limits.shown_value(_shown(getattr(operator, name, None), redact, name)))
        for name in operator.template_fields
    }


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """JSON with `redact` applied to each text in it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted(item, redact) for item in value]
    return {key: redacted(item, redact) for key, item in value.items()} if isinstance(value, dict) else value


def _shown(value: Any, redact: Callable[[str], str], name: str = "", levels: int = _LEVELS) -> Any:
    if value and names_a_secret(name):
        return MASK
    if levels <= 0:
        return "…"
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, dict):
        return {redact(str(key)): _shown(item, redact, str(key), levels - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(item, redact, levels=levels - 1) for item in value]
    if callable(value):
        return f"<callable {getattr(value, '__qualname__', type(value).__qualname__)}>"
    return redact(str(value))


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= _FIELD_LENGTH:
        return value
    return f"{text[:_FIELD_LENGTH]}... (cut: {len(text)} characters)"
