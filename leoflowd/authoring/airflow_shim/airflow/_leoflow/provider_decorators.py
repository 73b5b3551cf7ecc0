"""`@task.kubernetes`, `@task.sql` and the other decorators of providers: captured operators with a function.

The function is only kept: the task's process loads the file again with the real packages, whose provider registers the
decorator and decides what its function is for (the body of the task, its command, its query, ...).
"""

from __future__ import annotations

import functools

from airflow._leoflow.captured import CapturedOperator, CapturedSensor
from airflow._leoflow.operators import _Decorated

_TABLE = """
kubernetes cncf.kubernetes.decorators.kubernetes _KubernetesDecoratedOperator
kubernetes_cmd cncf.kubernetes.decorators.kubernetes_cmd _KubernetesCmdDecoratedOperator
docker docker.decorators.docker _DockerDecoratedOperator
pyspark apache.spark.decorators.pyspark _PySparkDecoratedOperator
snowpark snowflake.decorators.snowpark _SnowparkDecoratedOperator
sql common.sql.decorators.sql _SQLDecoratedOperator
analytics common.sql.decorators.analytics _AnalyticsDecoratedOperator
sftp_sensor sftp.decorators.sensors.sftp _DecoratedSFTPSensor
llm common.ai.decorators.llm _LLMDecoratedOperator
llm_batch common.ai.decorators.llm_batch _LLMBatchDecoratedOperator
llm_branch common.ai.decorators.llm_branch _LLMBranchDecoratedOperator
llm_sql common.ai.decorators.llm_sql _LLMSQLDecoratedOperator
llm_file_analysis common.ai.decorators.llm_file_analysis _LLMFileAnalysisDecoratedOperator
llm_schema_compare common.ai.decorators.llm_schema_compare _LLMSchemaCompareDecoratedOperator
agent common.ai.decorators.agent _AgentDecoratedOperator
"""
"""The decorator, and below `airflow.providers.` the module and the class of what it makes, which the UI shows."""
DECORATORS = {
    name: (f"airflow.providers.{module}", cls) for name, module, cls in map(str.split, _TABLE.split("\n")[1:-1])
}
FILLED_IN = {"pyspark": frozenset({"spark", "sc"}), "snowpark": frozenset({"session"})}
"""Parameters of the function that the provider fills in when the task runs."""


@functools.lru_cache(maxsize=32)
def operator_class(decorator: str) -> type:
    """What `@task.<decorator>` makes. Raises `KeyError` for one that no provider registers."""
    module, name = DECORATORS[decorator]
    base = CapturedSensor if decorator.endswith("_sensor") else CapturedOperator
    members = {
        "__module__": module,
        "captured_from": module,
        "custom_operator_name": f"@task.{decorator}",
        "template_fields": ("op_args", "op_kwargs"),
        "filled_in": FILLED_IN.get(decorator, frozenset()),
    }
    return type(base)(name, (_Decorated, base), members)
