"""A task instance whose row was deleted still stands between those around it: nobody runs early because it is gone."""

from __future__ import annotations

import pytest

from leoflowd.contract.states import DagRunState, TriggerRule
from leoflowd.core.dag_run_plan import plan_dag_run
from leoflowd.core.decisions import FinishDagRun
from leoflowd.core.run_view import RunView
from tests.unit.core.core_builders import NOW, task, view_of


def without(view: RunView, task_id: str) -> RunView:
    gone = view.shape.index_of[task_id]
    return RunView(
        dag_run_id=view.dag_run_id,
        dag_id=view.dag_id,
        run_id=view.run_id,
        shape=view.shape,
        state=DagRunState.RUNNING,
        facts=[facts for facts in view.facts if facts.node != gone],
    )


@pytest.mark.parametrize("rule", [TriggerRule.ALL_SUCCESS, TriggerRule.ALL_DONE, TriggerRule.NONE_FAILED])
def test_nobody_runs_because_its_upstream_was_deleted(rule: TriggerRule) -> None:
    view = without(view_of(task("a"), task("b", "a", trigger_rule=rule)), "a")
    (decision,) = plan_dag_run(view, NOW)
    assert isinstance(decision, FinishDagRun)
    assert decision.state is DagRunState.FAILED
    assert "'b' waits for ever" in decision.because
