"""The daemon's template language: what is in it, and what each name gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from leoflowd.contract.agent_messages import DagRunFacts
from leoflowd.core.simple_templates import TemplateFault, is_simple, names_of, render

RUN = DagRunFacts(
    dag_id="etl",
    run_id="scheduled__2024-03-01",
    run_type="scheduled",
    run_after=datetime(2024, 3, 2, tzinfo=UTC),
    logical_date=datetime(2024, 3, 1, tzinfo=UTC),
    data_interval_start=datetime(2024, 3, 1, tzinfo=UTC),
    data_interval_end=datetime(2024, 3, 2, tzinfo=UTC),
    conf='{"day": "today", "deep": {"list": [1, {"a b": "found"}]}, "none": null, "items": "shadowed"}',
)
REGISTERED_AT = datetime(2024, 3, 2, 7, 30, 15, 250_000, tzinfo=UTC)


def names(run: DagRunFacts = RUN) -> dict[str, Any]:
    return names_of(
        run, task_id="wait", params={"table": "t", "n": 3}, registered_at=REGISTERED_AT, try_number=2, map_index=-1
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no template", "no template"),
        ("{{ ds }}", "2024-03-01"),
        ("{{ds}}/{{ ds_nodash }}", "2024-03-01/20240301"),
        ("{{ ts }}", "2024-03-01T00:00:00+00:00"),
        ("{{ ts_nodash }} {{ ts_nodash_with_tz }}", "20240301T000000 20240301T000000+0000"),
        ("{{ logical_date }}", "2024-03-01 00:00:00+00:00"),
        ("{{ data_interval_start }} {{ data_interval_end.day }}", "2024-03-01 00:00:00+00:00 2"),
        ("{{ logical_date.year }}-{{ logical_date.month }}", "2024-3"),
        ("{{ run_id }} {{ dag_run.run_type }}", "scheduled__2024-03-01 scheduled"),
        ("{{ dag.dag_id }}.{{ task.task_id }}", "etl.wait"),
        ("{{ ti.try_number }} {{ task_instance.map_index }}", "2 -1"),
        ("{{ task_instance_key_str }}", "etl__wait__20240301"),
        ("{{ params.table }} {{ params['n'] }}", "t 3"),
        ('{{ dag_run.conf["day"] }} {{ dag_run.conf.day }}', "today today"),
        ("{{ dag_run.conf.deep.list[1]['a b'] }}", "found"),
        ("{{ dag_run.conf.deep['list'][-1] }}", "{'a b': 'found'}"),
        ("{{ dag_run.conf.none or 'else' }}", "else"),
        ("{{ dag_run.conf.none }}", "None"),
        ('{{ dag_run.conf["items"] }}', "shadowed"),
        ("{{ dag_run.conf.none or 0 or 1.5 }}", "1.5"),
        ("{{ '}}' }} }}", "}} }}"),
        ("{{ leoflow_base_time }}", "2024-03-02 00:00:00+00:00"),
        ("{{ leoflow_registered_at.second }}", "15"),
        ("two\r\nlines\n", "two\nlines"),
    ],
)
def test_a_simple_template_renders(template: str, expected: str) -> None:
    assert is_simple(template)
    assert render(template, names()) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% if ds %}x{% endif %}",
        "{# comment #}",
        "{{ ds | upper }}",
        "{{ ds ~ 'x' }}",
        "{{ ds if ds }}",
        "{{ not ds }}",
        "{{ macros.ds_add(ds, 7) }}",
        "{{ ti.xcom_pull('a') }}",
        "{{ var.value.x }}",
        "{{ conn.db.host }}",
        "{{ conf.x }}",
        "{{ surely_not }}",
        "{{ logical_date.add }}",
        "{{ logical_date.isoformat() }}",
        "{{ ds.upper }}",
        "{{ dag_run }}",
        "{{ dag_run.note }}",
        "{{ dag_run.conf.items }}",
        "{{ params.__class__ }}",
        "{{- ds -}}",
        "{{-3}}",
        "{{ ds",
        "{{ }}",
        "{{ or ds }}",
        "{{ ds or }}",
        "{{ ds ds }}",
        "{{ params[ds] }}",
        "{{ params['a' }}",
        r"{{ 'back\slash' }}",
        "{{ 1_000 }}",
    ],
)
def test_everything_else_is_not_simple_and_is_never_guessed(template: str) -> None:
    assert not is_simple(template)
    with pytest.raises(TemplateFault):
        render(template, names())


def test_all_texts_of_a_value_are_looked_at_and_rendered_but_no_keys() -> None:
    value = {"{{ ds }}": ["{{ ds }}", {"x": "{{ params.n }}"}, 3, None, True, 1.5]}
    assert is_simple(value)
    assert render(value, names()) == {"{{ ds }}": ["2024-03-01", {"x": "3"}, 3, None, True, 1.5]}
    assert not is_simple([{"x": ["{{ ds }}", "{{ ds | upper }}"]}])


@pytest.mark.parametrize("name", ["ds", "ts_nodash", "logical_date", "data_interval_end"])
def test_a_run_without_a_logical_date_has_no_name_that_depends_on_it(name: str) -> None:
    run = msgspec.structs.replace(RUN, logical_date=None, data_interval_start=None, data_interval_end=None)
    with pytest.raises(TemplateFault, match=f"no {name}.*without a logical date"):
        render(f"{{{{ {name} }}}}", names(run))


def test_a_run_without_a_data_interval_counts_from_run_after() -> None:
    run = msgspec.structs.replace(RUN, logical_date=None, data_interval_start=None, data_interval_end=None)
    assert render("{{ leoflow_base_time }}", names(run)) == "2024-03-02 00:00:00+00:00"
    assert render("{{ dag_run.logical_date or dag_run.run_after }}", names(run)) == "2024-03-02 00:00:00+00:00"
    assert render("{{ task_instance_key_str }}", names(run)) == "etl__wait__scheduled__2024-03-01"


@pytest.mark.parametrize("path", ["params.nothing", "dag_run.conf.day.more", "dag_run.conf.deep.list[9]", "params[0]"])
def test_what_does_not_exist_is_a_fault_that_names_the_path(path: str) -> None:
    with pytest.raises(TemplateFault, match="does not exist"):
        render(f"{{{{ {path} or 'default' }}}}", names())
