"""What is simple renders as Airflow's Jinja renders it, and as pendulum prints moments."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jinja2
import pendulum
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.agent_messages import DagRunFacts
from leoflowd.core.simple_templates import TemplateFault, is_simple, names_of, render

JINJA = jinja2.Environment(undefined=jinja2.StrictUndefined, cache_size=0)
KEYS = ("a", "b c", "list")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "{{ ds }}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=5,
)
moments = st.integers(0, 4_000_000_000_000_000).map(
    lambda us: datetime.fromtimestamp(us // 10**6, UTC).replace(microsecond=us % 10**6)
)
steps = st.lists(st.sampled_from([".a", ".list", "['b c']", '["a"]', "[0]", "[-1]"]), max_size=3).map("".join)
paths = st.one_of(
    st.sampled_from(
        ["ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "run_id", "logical_date", "ti.task_id"]
    ),
    st.sampled_from(["year", "month", "day", "hour", "minute", "second"]).map("logical_date.{}".format),
    st.sampled_from(["dag_run.logical_date", "dag_run.run_after", "data_interval_end", "dag_run.run_type"]),
    st.builds(str.__add__, st.sampled_from(["params", "dag_run.conf"]), steps),
)
terms = paths | st.sampled_from(["'text'", '"te}}xt"', "0", "7", "1.50", "-3", "''"])
expressions = st.lists(terms, min_size=1, max_size=3).map(" or ".join)
spaces = st.sampled_from(["", " ", "\n"])
templates = st.lists(
    st.builds("{{{{{1}{0}{1}}}}}".format, expressions, spaces) | st.sampled_from(["x", "\n", "\r\n", "}}", "{", " "]),
    max_size=4,
).map("".join)


def with_pendulum(value: Any) -> Any:
    if isinstance(value, datetime):
        return pendulum.instance(value)
    return value


class Attributes:
    """Airflow's `dag_run` and `ti` are objects."""

    def __init__(self, values: dict[str, Any]) -> None:
        vars(self).update({name: with_pendulum(value) for name, value in values.items()})


@given(template=templates, params=st.dictionaries(st.sampled_from(KEYS), json_values), moment=moments, conf=json_values)
def test_a_simple_template_renders_as_in_jinja(template: str, params: Any, moment: datetime, conf: Any) -> None:
    run = DagRunFacts(
        dag_id="d",
        run_id="r",
        run_type="manual",
        run_after=moment,
        logical_date=moment,
        data_interval_start=moment,
        data_interval_end=moment,
        conf=json.dumps(conf if isinstance(conf, dict) else {"a": conf}),
    )
    names = names_of(run, task_id="t", params=params, registered_at=moment, try_number=1)
    objects = {name: Attributes(names[name]) for name in ("dag_run", "ti")}
    airflow = {name: with_pendulum(value) for name, value in names.items()} | objects
    if not is_simple(template):
        return
    try:
        expected = JINJA.from_string(template).render(airflow)
    except jinja2.UndefinedError:
        expected = None
    try:
        rendered = render(template, names)
    except TemplateFault:
        rendered = None
    assert rendered == expected


@given(st.text(alphabet="{}%#|.[]()'\" \n\\ab01ors_d-", max_size=25))
def test_any_text_is_either_rendered_as_in_jinja_or_refused(text: str) -> None:
    if is_simple(text):
        names = {"ds": "2024-01-01"}
        assert render(text, names) == JINJA.from_string(text).render(names)
