"""Objects of classes of libraries and of the author in XComs: their form, and back, as `airflow.sdk.serde` has them.

`xcom` calls it for what is neither JSON nor of the standard library. Nothing is imported here that the task has not
imported, but to read a value; and a class is only loaded for that if it is one of ours below, or allowed by
`[core] allowed_deserialization_classes`, which is Airflow's option (in the environment of the task). ADR 43.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from .limits import NotSerializable

Form = tuple[str, int, Any]
"""`__classname__`, `__version__` and `__data__`, which may hold more to be written."""

_FRAME = "pandas.core.frame.DataFrame"
_NUMPY: dict[str, Callable[[Any], Any]] = {
    **{f"numpy.{sign}int{bits}": int for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"numpy.float{bits}": float for bits in (16, 32, 64)},
    "numpy.bool": bool,
    "numpy.bool_": bool,
}
_ALLOWED = "AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES"
_ALLOWED_BY_DEFAULT = "airflow.*"
_NO_VERSION = 0
_INSTEAD = {"tolist": "`.tolist()`", "to_dicts": "`.to_dicts()`", "__next__": "`list()`", "value": "`.value`"}
"""Of what has this attribute, that is what may be stored."""


def form_of_library(value: Any, where: str) -> Form | None:
    """What numpy, pandas and pydantic define; None for anything else. Raises `NotSerializable`."""
    kind = value.__class__
    name = _name(kind)
    if name in _NUMPY:
        return name, 1, _NUMPY[name](value)
    if name in (_FRAME, "pandas.DataFrame"):  # pandas 3 calls it so, and Airflow 3.2 carries that no more
        return _FRAME, 1, _parquet(value, where)
    if _is_pydantic(kind):
        return name, 1, value.model_dump(mode="json")
    return None


def form_of_own(value: Any) -> Form | None:
    """What the class itself defines: `serialize()`, a dataclass, attrs. None for anything else."""
    kind: Any = value.__class__
    name, version = _name(kind), getattr(kind, "__version__", _NO_VERSION)
    if isinstance(value, type):
        return None
    if hasattr(kind, "serialize"):
        data = value.serialize()
        return None if isinstance(data, bytes) else (name, version, data)
    if dataclasses.is_dataclass(kind):
        return name, version, dataclasses.asdict(value)
    if hasattr(kind, "__attrs_attrs__"):
        fields = {one.name: getattr(value, one.name) for one in kind.__attrs_attrs__ if one.init}
        return name, version, fields
    return None


def refusal(value: Any, where: str) -> NotSerializable:
    kind = value.__class__
    instead = next((word for name, word in _INSTEAD.items() if hasattr(value, name)), None)
    return NotSerializable(
        f"{where} is of type {_name(kind)}, which cannot be stored; use JSON types (text, numbers, booleans, None, "
        "lists, dicts), datetimes, UUIDs, Decimals, bytes, tuples, sets, dataclasses, attrs or pydantic objects, "
        f"numpy's numbers or a pandas DataFrame{f', for instance its {instead}' if instead else ''}"
    )


def opened(name: str, version: Any, data: Any) -> Any:
    """The object of this form, whose data is read already. Raises ImportError and TypeError."""
    if name in _NUMPY:
        return _class("numpy.bool_" if name == "numpy.bool" else name)(data)
    if name == _FRAME:
        return _frame(data)
    if not _is_allowed(name):
        raise ImportError(
            f"the XCom holds an object of {name}, and [core] allowed_deserialization_classes does not name that class; "
            f"set {_ALLOWED}='{_ALLOWED_BY_DEFAULT} {name}' in the environment of the task, or return a dict instead"
        )
    return _made(_class(name), name, version, data)


def _made(kind: Any, name: str, version: Any, data: Any) -> Any:
    if _is_pydantic(kind):
        return kind.model_validate(data)
    if hasattr(kind, "deserialize"):
        return kind.deserialize(data, version)
    if not dataclasses.is_dataclass(kind) and not hasattr(kind, "__attrs_attrs__"):
        raise TypeError(f"the XCom holds an object of {name}, which has no deserialize()")
    if int(version) > getattr(kind, "__version__", _NO_VERSION):
        raise TypeError(f"the XCom holds version {version} of {name}, which is newer than the class here")
    if not isinstance(data, dict):
        raise TypeError(f"the XCom holds no fields of {name}, but {type(data).__name__}")
    return kind(**data)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _class(name: str) -> Any:
    module, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), last)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(
            f"the XCom holds an object of {name}, which the environment of this DAG cannot import: {error}; add what "
            "defines it to `dependencies` in leoflow.yaml, or return a dict instead"
        ) from error


def _is_allowed(name: str) -> bool:
    globs = os.environ.get(_ALLOWED, _ALLOWED_BY_DEFAULT).split()
    patterns = os.environ.get(f"{_ALLOWED}_REGEXP", "").split()
    return any(fnmatchcase(name, one) for one in globs) or any(re.fullmatch(one, name) for one in patterns)


def _is_pydantic(kind: type) -> bool:
    """By its marks, as Airflow finds it: pydantic need not be there."""
    marks = hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_validator__")
    return marks and not dataclasses.is_dataclass(kind)


# --- frames ------------------------------------------------------------------------------------------------------


def _parquet(frame: Any, where: str) -> str:
    try:
        arrow, parquet = _arrow()
    except ImportError as error:
        raise NotSerializable(
            f"{where} is a pandas DataFrame, which travels as Parquet, and pyarrow is not in the DAG's environment; "
            "add pyarrow to `dependencies` in leoflow.yaml, or return its `.to_dict('records')`"
        ) from error
    out = arrow.BufferOutputStream()
    parquet.write_table(arrow.Table.from_pandas(frame), out, compression="snappy")
    return str(out.getvalue().to_pybytes().hex())


def _frame(data: Any) -> Any:
    _class(_FRAME)
    arrow, parquet = _arrow()
    return parquet.read_table(arrow.BufferReader(bytes.fromhex(data))).to_pandas()


def _arrow() -> tuple[Any, Any]:
    return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
