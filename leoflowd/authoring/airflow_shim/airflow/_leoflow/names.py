"""Which `airflow.*` module has which name, and where it lives in the shim: one table, read by `finder.py`.

A module that is not here does not exist for DAG files; `finder.py` says so with a remedy.
"""

from __future__ import annotations

_DAG = "airflow._leoflow.dag"
_OP = "airflow._leoflow.base_operator"
_G = "airflow._leoflow.task_group"
_X = "airflow._leoflow.xcom_arg"
_M = "airflow._leoflow.mapping"
_EDGE = "airflow._leoflow.edges"
_O = "airflow._leoflow.operators"
_E = "airflow._leoflow.errors"
_T = "airflow._leoflow.timetables"
_P = "airflow._leoflow.params"
_D = "airflow._leoflow.decorators"
_S = "airflow._leoflow.services"
_V = "airflow._leoflow.variables"
_C = "airflow._leoflow.context"
_ENUMS = "airflow._leoflow.enums"
_TZ = "airflow._leoflow.timezone"
_SE = "airflow._leoflow.sensors"
_TS = "airflow._leoflow.time_sensors"
_DB = "airflow._leoflow.database_sensors"
_OS = "airflow._leoflow.object_sensors"
_H = "airflow._leoflow.http_calls"
_TR = "airflow._leoflow.triggers"
_TD = "airflow._leoflow.trigger_dagrun"
_B = "airflow._leoflow.branching"
_BT = "airflow._leoflow.branch_times"
_VENV = "airflow._leoflow.virtualenv"
_HI = "airflow._leoflow.hitl"

_N = "airflow._leoflow.plugin_bases"
_A = "airflow._leoflow.assets"
_AS = "airflow._leoflow.asset_schedule"
_PA = "airflow._leoflow.partitions"
_MAPPERS = {
    "base": ("PartitionMapper",),
    "identity": ("IdentityMapper",),
    "allowed_key": ("AllowedKeyMapper",),
    "chain": ("ChainMapper",),
    "product": ("ProductMapper",),
    "temporal": tuple(f"StartOf{unit}Mapper" for unit in ("Hour", "Day", "Week", "Month", "Quarter", "Year")),
}
_PARTITIONS = dict.fromkeys(
    (*(name for names in _MAPPERS.values() for name in names), "PartitionedAssetTimetable"), _PA
)
_ASSETS = dict.fromkeys(("Asset", "AssetAlias", "AssetAll", "AssetAny", "AssetWatcher"), _A)
_ASSET = {"asset": "airflow._leoflow.asset_decorator"}
_PATH = {"ObjectStoragePath": "airflow._leoflow.object_storage"}

_EDGES = dict.fromkeys(("chain", "chain_linear", "cross_downstream"), _EDGE)
_DECORATORS = dict.fromkeys(("dag", "task", "task_group", "setup", "teardown"), _D)
_BASH = {"BashOperator": _O}
_BRANCH = dict.fromkeys(("BaseBranchOperator", "BranchMixIn"), _B)
_PYTHON = {
    "PythonOperator": _O,
    "get_current_context": _C,
    **dict.fromkeys(("BranchPythonOperator", "ShortCircuitOperator"), _B),
    **dict.fromkeys(
        """PythonVirtualenvOperator ExternalPythonOperator BranchPythonVirtualenvOperator
        BranchExternalPythonOperator""".split(),
        _VENV,
    ),
}
_EMPTY = {"EmptyOperator": _O}
_TRIGGER_DAGRUN = {"TriggerDagRunOperator": _TD}
_SENSOR = dict.fromkeys(("BaseSensorOperator", "PokeReturnValue", "poke_mode_only"), _SE)
_TRIGGER = dict.fromkeys(
    """BaseTrigger BaseEventTrigger TriggerEvent StartTriggerArgs BaseTaskEndEvent TaskSuccessEvent TaskFailedEvent
    TaskSkippedEvent""".split(),
    _TR,
)
_WEEKDAY = {"WeekDay": _ENUMS}
_STANDARD_SENSORS = {
    "bash": {"BashSensor": _SE},
    "date_time": dict.fromkeys(("DateTimeSensor", "DateTimeSensorAsync"), _TS),
    "external_task": {"ExternalTaskSensor": "airflow._leoflow.external_task_sensor", "ExternalTaskMarker": _O},
    "filesystem": {"FileSensor": "airflow._leoflow.file_sensor"},
    "python": {"PythonSensor": _SE},
    "time": dict.fromkeys(("TimeSensor", "TimeSensorAsync"), _TS),
    "time_delta": dict.fromkeys(("TimeDeltaSensor", "TimeDeltaSensorAsync", "WaitSensor"), _TS),
    "weekday": {"DayOfWeekSensor": _TS},
}
_OLD_NAMES = {"time_sensor": "time"}
"""Airflow 2's `airflow.sensors.<name>`, where it differs."""
_STANDARD_TRIGGERS = {
    "temporal": dict.fromkeys(("DateTimeTrigger", "TimeDeltaTrigger"), _TR),
    "file": {
        "FileTrigger": _TR,
        **dict.fromkeys(("FileDeleteTrigger", "DirectoryFileDeleteTrigger"), "airflow._leoflow.file_triggers"),
    },
    "external_task": dict.fromkeys(("WorkflowTrigger", "DagStateTrigger"), _TR),
    "hitl": {"HITLTrigger": _HI},
}
_S3 = {"S3KeySensor": _OS, "S3PrefixSensor": _OS}
_GCS = dict.fromkeys(
    ("GCSObjectExistenceSensor", "GCSObjectExistenceAsyncSensor", "GCSObjectsWithPrefixExistenceSensor"), _OS
)
_TIMEZONE = dict.fromkeys(
    """utcnow utc_epoch datetime parse parse_timezone is_localized is_naive make_aware make_naive
    convert_to_utc coerce_datetime from_timestamp utc TIMEZONE""".split(),
    _TZ,
)
_CRON = dict.fromkeys(("CronTriggerTimetable", "DeltaTriggerTimetable", "MultipleCronTriggerTimetable"), _T)
_INTERVAL = {"CronDataIntervalTimetable": _T, "DeltaDataIntervalTimetable": _T}
_DEADLINES = dict.fromkeys(("DeadlineAlert", "DeadlineReference"), "airflow._leoflow.deadlines")
_DEADLINE_CALLBACKS = dict.fromkeys(("AsyncCallback", "SyncCallback"), "airflow._leoflow.deadlines")
_STATES = dict.fromkeys(("DagRunState", "TaskInstanceState", "State", "TerminalTIState"), _ENUMS)
_ERRORS = dict.fromkeys(
    """AirflowException AirflowFailException AirflowSkipException DownstreamTasksSkipped AirflowBadRequest
    AirflowNotFoundException AirflowOptionalProviderFeatureException
    AirflowConfigException TaskDeferred TaskDeferralError TaskDeferralTimeout
    AirflowSensorTimeout AirflowRescheduleException AirflowTaskTimeout AirflowTaskTerminated
    AirflowTimetableInvalid AirflowDagCycleException DuplicateTaskIdFound TaskAlreadyInTaskGroup TaskNotFound
    NodeNotFound DagNotFound DagRunNotFound TaskInstanceNotFound PoolNotFound DagRunAlreadyExists
    AirflowOptionalProviderFeatureException ParamValidationError FailFastDagInvalidTriggerRule XComNotFound
    RemovedInAirflow4Warning AirflowProviderDeprecationWarning""".split(),
    _E,
)

MODULES: dict[str, dict[str, str]] = {
    "airflow": {"DAG": _DAG, "XComArg": _X, "Asset": _A, "Dataset": f"{_A}:Asset"},
    "airflow.sdk": {
        **_ASSETS,
        **_ASSET,
        "Metadata": _A,
        "AssetOrTimeSchedule": _AS,
        **_PARTITIONS,
        "CronPartitionTimetable": _PA,
        **_DEADLINES,
        **_DEADLINE_CALLBACKS,
        **_EDGES,
        **_DECORATORS,
        **_CRON,
        **_INTERVAL,
        **_SENSOR,
        **_BRANCH,
        **_PATH,
        "SkipMixin": _B,
        "BaseNotifier": _N,
        "BaseOperatorLink": _N,
        "conf": "airflow._leoflow.conf",
        "DAG": _DAG,
        "BaseOperator": _OP,
        "TaskGroup": _G,
        "XComArg": _X,
        "Label": _EDGE,
        "EdgeModifier": _EDGE,
        "Param": _P,
        "ParamsDict": _P,
        "Variable": _V,
        "Connection": _S,
        "BaseHook": _S,
        "Context": _C,
        "get_current_context": _C,
        "get_parsing_context": _C,
        "TaskInstance": _ENUMS,
        "TaskInstanceState": _ENUMS,
        "DagRunState": _ENUMS,
        "TriggerRule": _ENUMS,
        "WeightRule": _ENUMS,
        "EventsTimetable": _T,
        "literal": f"{_X}:Literal",
        "BaseTrigger": _TR,
        "BaseEventTrigger": _TR,
        "TriggerEvent": _TR,
        "StartTriggerArgs": _TR,
    },
    "airflow.sdk.bases": {},
    "airflow.sdk.bases.sensor": _SENSOR,
    "airflow.sdk.bases.trigger": _TRIGGER,
    "airflow.listeners": {"hookimpl": "airflow._leoflow.internals"},
    "airflow.task.priority_strategy": {"PriorityWeightStrategy": _N},
    "airflow.triggers": {},
    "airflow.triggers.base": _TRIGGER,
    "airflow.sensors": {},
    "airflow.sensors.base": _SENSOR,
    "airflow.sdk.bases.operator": {"BaseOperator": _OP, **_EDGES},
    "airflow.sdk.bases.branch": _BRANCH,
    "airflow.sdk.bases.skipmixin": {"SkipMixin": _B},
    "airflow.sdk.bases.hook": {"BaseHook": _S},
    "airflow.sdk.bases.notifier": {"BaseNotifier": _N},
    "airflow.sdk.bases.operatorlink": {"BaseOperatorLink": _N},
    "airflow.sdk.io": _PATH,
    "airflow.sdk.io.path": _PATH,
    "airflow.sdk.definitions": {},
    "airflow.sdk.definitions.callback": _DEADLINE_CALLBACKS,
    "airflow.sdk.definitions.deadline": {
        **_DEADLINES,
        **dict.fromkeys(("BaseDeadlineReference", "deadline_reference"), "airflow._leoflow.deadlines"),
    },
    "airflow.sdk.definitions.asset": {
        **_ASSETS,
        **dict.fromkeys(
            """Dataset Model BaseAsset AssetRef AssetNameRef AssetUriRef AssetBooleanCondition AssetUniqueKey
            AssetAliasUniqueKey""".split(),
            _A,
        ),
    },
    "airflow.sdk.definitions.asset.decorators": {
        **_ASSET,
        **dict.fromkeys(("AssetDefinition", "MultiAssetDefinition"), _ASSET["asset"]),
    },
    "airflow.sdk.definitions.asset.metadata": {"Metadata": _A},
    "airflow.sdk.definitions.timetables.assets": {
        **dict.fromkeys(("AssetTriggeredTimetable", "AssetOrTimeSchedule"), _AS),
        "PartitionedAssetTimetable": _PA,
    },
    "airflow.sdk.definitions.connection": {"Connection": _S},
    "airflow.sdk.definitions.context": {"Context": _C, "get_current_context": _C},
    "airflow.sdk.definitions.dag": {"DAG": _DAG, "dag": _D},
    "airflow.sdk.definitions.decorators": _DECORATORS,
    "airflow.sdk.definitions.edges": {"Label": _EDGE, "EdgeModifier": _EDGE},
    "airflow.sdk.definitions.param": {"Param": _P, "ParamsDict": _P, "DagParam": _P},
    "airflow.sdk.definitions.taskgroup": {"TaskGroup": _G},
    "airflow.sdk.definitions.template": {"literal": f"{_X}:Literal"},
    "airflow.sdk.definitions.variable": {"Variable": _V},
    "airflow.sdk.definitions.mappedoperator": {"MappedOperator": _M},
    "airflow.sdk.definitions.xcom_arg": dict.fromkeys(
        ("XComArg", "PlainXComArg", "MapXComArg", "ZipXComArg", "ConcatXComArg"), _X
    ),
    "airflow.sdk.exceptions": _ERRORS,
    "airflow.sdk.execution_time": {},
    "airflow.sdk.execution_time.hitl": {"HITLUser": _HI},
    "airflow.sdk.timezone": _TIMEZONE,
    "airflow.sdk.types": {"Context": _C},
    "airflow.configuration": dict.fromkeys(
        ("conf", "get", "getboolean", "getint", "getfloat", "has_option"), "airflow._leoflow.conf"
    ),
    "airflow.decorators": _DECORATORS,
    "airflow.exceptions": _ERRORS,
    "airflow.hooks": {},
    "airflow.hooks.base": {"BaseHook": _S},
    "airflow.io": _PATH,
    "airflow.io.path": _PATH,
    "airflow.macros": dict.fromkeys(
        """datetime datetime_diff_for_humans ds_add ds_format ds_format_locale json random time timedelta uuid
        dateutil""".split(),
        "airflow._leoflow.macros",
    ),
    "airflow.models": {
        "DAG": _DAG,
        "BaseOperator": _OP,
        "Variable": _V,
        "Connection": _S,
        "Param": _P,
        "XComArg": _X,
    },
    "airflow.models.baseoperator": {"BaseOperator": _OP, **_EDGES},
    "airflow.models.baseoperatorlink": {"BaseOperatorLink": _N},
    "airflow.models.connection": {"Connection": _S},
    "airflow.models.dag": {"DAG": _DAG, "dag": _D},
    "airflow.models.mappedoperator": {"MappedOperator": _M},
    "airflow.models.param": {"Param": _P, "ParamsDict": _P, "DagParam": _P},
    "airflow.models.variable": {"Variable": _V},
    "airflow.models.xcom_arg": {"XComArg": _X},
    "airflow.notifications.basenotifier": {"BaseNotifier": _N},
    "airflow.operators": {},
    "airflow.operators.bash": _BASH,
    "airflow.operators.python": _PYTHON,
    "airflow.operators.empty": _EMPTY,
    "airflow.operators.trigger_dagrun": _TRIGGER_DAGRUN,
    "airflow.providers": {},
    "airflow.providers.common": {},
    "airflow.providers.common.compat": {},
    "airflow.providers.common.compat.assets": dict.fromkeys(("Asset", "AssetAlias", "AssetAll", "AssetAny"), _A),
    "airflow.providers.standard": {},
    "airflow.providers.standard.exceptions": dict.fromkeys(
        ("HITLTriggerEventError", "HITLTimeoutError", "HITLRejectException"), _HI
    ),
    "airflow.providers.standard.operators": {},
    "airflow.providers.standard.operators.bash": _BASH,
    "airflow.providers.standard.operators.python": _PYTHON,
    "airflow.providers.standard.operators.empty": _EMPTY,
    "airflow.providers.standard.operators.trigger_dagrun": _TRIGGER_DAGRUN,
    "airflow.providers.standard.operators.branch": _BRANCH,
    "airflow.providers.standard.operators.datetime": {"BranchDateTimeOperator": _BT},
    "airflow.providers.standard.operators.hitl": dict.fromkeys(
        ("HITLOperator", "ApprovalOperator", "HITLBranchOperator", "HITLEntryOperator"), _HI
    ),
    "airflow.providers.standard.operators.latest_only": {"LatestOnlyOperator": _BT},
    "airflow.providers.standard.operators.weekday": {"BranchDayOfWeekOperator": _BT},
    "airflow.providers.standard.sensors": {},
    "airflow.providers.standard.triggers": {},
    "airflow.providers.standard.utils": {},
    "airflow.providers.standard.utils.skipmixin": {"SkipMixin": _B},
    "airflow.providers.standard.utils.weekday": _WEEKDAY,
    "airflow.providers.amazon.aws.sensors.s3": _S3,
    "airflow.providers.common.sql.sensors.sql": {"SqlSensor": _DB},
    "airflow.providers.google.cloud.sensors.gcs": _GCS,
    "airflow.providers.http.operators.http": {"HttpOperator": _H},
    "airflow.providers.http.sensors.http": {"HttpSensor": _H},
    "airflow.providers.http.triggers.http": {"HttpTrigger": _TR, "HttpSensorTrigger": _TR},
    "airflow.providers.smtp.operators.smtp": {"EmailOperator": "airflow._leoflow.email_operator"},
    "airflow.providers.redis.sensors.redis_key": {"RedisKeySensor": _DB},
    "airflow.settings": dict.fromkeys(("DAGS_FOLDER", "AIRFLOW_HOME", "TIMEZONE"), "airflow._leoflow.conf"),
    "airflow.timetables": {},
    "airflow.timetables.base": {
        "Timetable": f"{_T}:BaseTimetable",
        **dict.fromkeys(("DataInterval", "DagRunInfo", "TimeRestriction"), _T),
    },
    "airflow.timetables.assets": {"AssetOrTimeSchedule": _AS},
    "airflow.timetables.events": {"EventsTimetable": _T},
    "airflow.timetables.interval": _INTERVAL,
    "airflow.timetables.simple": {
        "NullTimetable": _T,
        "OnceTimetable": _T,
        "ContinuousTimetable": _T,
        "AssetTriggeredTimetable": _AS,
        "PartitionedAssetTimetable": _PA,
    },
    "airflow.timetables.trigger": {**_CRON, "CronPartitionTimetable": _PA},
    "airflow.typing_compat": dict.fromkeys(("TypedDict", "Literal", "Protocol", "TypeAlias"), "typing"),
    "airflow.utils": {},
    "airflow.utils.context": {"Context": _C},
    "airflow.utils.dag_parsing_context": {"get_parsing_context": _C},
    "airflow.utils.dates": {"cron_presets": _T},
    "airflow.utils.email": dict.fromkeys(
        ("send_email", "send_email_smtp", "get_email_address_list"), "airflow._leoflow.email"
    ),
    "airflow.utils.edgemodifier": {"Label": _EDGE, "EdgeModifier": _EDGE},
    "airflow.utils.helpers": dict.fromkeys(
        """is_container exactly_one at_most_one chunks as_flattened_list merge_dicts partition convert_camel_to_snake
        prune_dict""".split(),
        "airflow._leoflow.leftovers",
    ),
    "airflow.utils.log": {},
    "airflow.utils.log.logging_mixin": {"LoggingMixin": _S},
    "airflow.utils.state": _STATES,
    "airflow.utils.task_group": {"TaskGroup": _G},
    "airflow.utils.template": {"literal": f"{_X}:Literal"},
    "airflow.utils.timezone": _TIMEZONE,
    "airflow.utils.trigger_rule": {"TriggerRule": _ENUMS},
    "airflow.utils.types": {"DagRunType": _ENUMS},
    "airflow.utils.weight_rule": {"WeightRule": _ENUMS},
    "airflow.utils.weekday": _WEEKDAY,
    "airflow.version": {"version": "airflow:__version__"},
}

for _name, _classes in _STANDARD_SENSORS.items():
    MODULES[f"airflow.providers.standard.sensors.{_name}"] = MODULES[f"airflow.sensors.{_name}"] = _classes
for _name, _today in _OLD_NAMES.items():
    MODULES[f"airflow.sensors.{_name}"] = _STANDARD_SENSORS[_today]
for _name, _classes in _STANDARD_TRIGGERS.items():
    MODULES[f"airflow.providers.standard.triggers.{_name}"] = MODULES[f"airflow.triggers.{_name}"] = _classes

for _name, _names in _MAPPERS.items():
    for _package in ("airflow.partition_mappers", "airflow.sdk.definitions.partition_mappers"):
        MODULES[f"{_package}.{_name}"] = dict.fromkeys(_names, _PA)

MODULES["airflow.sdk"]["timezone"] = f"{_TZ}:"
MODULES["airflow.sdk"]["macros"] = "airflow.macros:"
MODULES["airflow.utils"]["timezone"] = f"{_TZ}:"
MODULES["airflow"]["macros"] = "airflow.macros:"
MODULES["airflow.providers.common.compat.sdk"] = {
    **MODULES["airflow.sdk"],
    **_ERRORS,
    **_TRIGGER,
    **MODULES["airflow.listeners"],
}

for _name in tuple(MODULES):
    while _name := _name.rpartition(".")[0]:
        MODULES.setdefault(_name, {})

REMEDIES = {"airflow.contrib": "look for it in airflow.providers"}

NAME_REMEDIES = {
    "SubDagOperator": "Airflow 3 has removed it; put its tasks into a TaskGroup, which takes its place in the graph",
}

SUPPORTED = (
    "@task, @task.bash, @task.sensor, the operators and sensors of docs/operators.md, "
    "and your own subclasses of BaseOperator and BaseSensorOperator"
)
