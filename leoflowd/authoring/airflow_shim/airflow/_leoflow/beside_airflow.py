"""What a process with the real Airflow needs of us: a scratch home, and Airflow 1.10 and 2's spelling.

The shim translates old names itself. The real Airflow 3 does not know them, so here a meta-path finder leads old
modules to new ones, and the constructors of DAGs and operators take old arguments: both by the table `moved.py`. Used
by the loader (`sdk_file.py`) and by the runner of tries, which load it by its path: it must be there before `airflow`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_moved: Any = None
_leftovers: Any = None
_tell: Callable[[str, str], None] | None = None


def prepare(tell: Callable[[str, str], None] | None = None) -> None:
    """Before `airflow` is imported. `tell(module, name)` hears of each old name that is imported."""
    global _moved, _leftovers, _tell
    home = os.path.join(sys.prefix, "airflow-home")
    if not os.access(sys.prefix, os.W_OK):  # a read-only image
        home = os.path.join(tempfile.gettempdir(), f"leoflow-airflow-home-{os.getuid()}")
    os.environ["AIRFLOW_HOME"] = home
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__LOGGING__COLORED_CONSOLE_LOG"] = "False"
    _moved, _leftovers, _tell = _load("moved"), _load("leftovers"), tell
    sys.meta_path.insert(0, _OldModules)


def _load(name: str) -> Any:
    """A module beside this one that imports the standard library only."""
    spec = importlib.util.spec_from_file_location(
        f"leoflow_{name}", os.path.join(os.path.dirname(__file__), f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve_plugin_macros(folder: str, import_paths: Sequence[str]) -> None:
    """In a try; the loader of files has the shim's `put_on_path` do it."""
    _load("plugin_macros").begin(folder, import_paths, ("airflow.macros", "airflow.sdk.execution_time.macros"))


# --- import paths ------------------------------------------------------------------------------------------------


class _OldModules:
    """Finds modules that hold old names: those that are gone, and those that lack some of theirs."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if "." not in name or not (_has_old_names(name) or name in _moved.PACKAGES):
            return None
        real = _find_real(name, path, target)
        if real is None:
            return ModuleSpec(name, _WithOldNames(None), is_package=True)  # type: ignore[arg-type]
        if real.loader is not None:
            real.loader = _WithOldNames(real.loader)  # type: ignore[assignment]
        return real


def _has_old_names(module: str) -> bool:
    return module in _moved.MODULES or module in _moved.REMOVED


def _find_real(name: str, path: Any, target: Any) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        if finder is _OldModules or find_spec is None:
            continue
        spec = find_spec(name, path, target)
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None


class _WithOldNames:
    """A loader around the module's own one, if there is one."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None if self._real is None else self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if self._real is not None:
            self._real.exec_module(module)
        inside = f"{module.__name__}."  # Airflow's own packages make modules of theirs that nobody looks for
        for name in (module.__name__, *(one for one in tuple(sys.modules) if one.startswith(inside))):
            if _has_old_names(name):
                _add_old_names(sys.modules[name])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _add_old_names(module: ModuleType) -> None:
    own = vars(module).get("__getattr__")
    if getattr(own, "knows_old_names", False):
        return

    def __getattr__(name: str) -> Any:  # noqa: N807 - the module's own
        if own is not None:
            try:
                return own(name)
            except AttributeError:
                pass
        found = _find(module.__name__, name)
        if _tell is None:
            setattr(module, name, found)
        else:  # each import is told
            _tell(module.__name__, name)
        return found

    __getattr__.knows_old_names = True  # type: ignore[attr-defined]
    module.__getattr__ = __getattr__  # type: ignore[method-assign]


@functools.cache
def _find(module: str, name: str) -> Any:
    """Each old name stands for one thing, however often it is imported."""
    remedy = _moved.remedy_of(module, name)
    if remedy is not None:
        return _gone(module, name, remedy)
    target = _moved.resolve(module, name)
    if target is None or (target.module, target.name) == (module, name):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    if target.module == _moved.HELPERS:
        return getattr(_leftovers, target.name)
    found = getattr(importlib.import_module(target.module), target.name)
    rules = _moved.rules_of(module, name)
    return _with_rules(found, rules, (module, name)) if rules and isinstance(found, type) else found


def _gone(module: str, name: str, remedy: str) -> type:
    """A class that Airflow 3 has no more: it may be imported and asked about, and none is made."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError(f"there is a {name} of {module}, and Airflow 3 has removed it; {remedy}")

    if not name[:1].isupper():
        raise ImportError(f"{name!r} of {module!r} is gone in Airflow 3; {remedy}")
    return type(name, (), {"__module__": module, "__new__": refuse, "partial": classmethod(refuse)})


def _with_rules(cls: Any, rules: tuple[Any, ...], old: tuple[str, str]) -> Any:
    """The class of today, taking its old arguments, under today's name; `leoflow_old_name` is its old one."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - the class's own
        super(made, self).__init__(*args, **_modern(rules, kwargs, kwargs.get("default_args")))

    def partial(which: Any, /, **kwargs: Any) -> Any:
        return super(made, which).partial(**_modern(rules, kwargs))

    members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__init__": __init__}
    members["leoflow_old_name"] = old
    if hasattr(cls, "partial"):  # an operator, which may be mapped
        members["partial"] = classmethod(partial)
    made = type(cls)(cls.__name__, (cls,), members)
    return made


def _modern(rules: tuple[Any, ...], given: dict[str, Any], defaults: Any = None) -> dict[str, Any]:
    arguments = given
    for one in rules:
        arguments, _ = _moved.modern_arguments(one, arguments, defaults)  # the compile has warned
    return arguments


# --- arguments ---------------------------------------------------------------------------------------------------


def adapt() -> None:
    """Once the real packages are imported, and before the DAG file is: their classes take old arguments and names."""
    for name in _moved.MODULES & sys.modules.keys():
        if "." in name:
            _add_old_names(sys.modules[name])
    _adapt_operators()
    _adapt_dags()
    _adapt_logging_mixin()
    rules: Any = importlib.import_module("airflow.sdk").TriggerRule
    for old, today in _moved.TRIGGER_RULES.items():
        type.__setattr__(rules, old.upper(), rules(today))


def _adapt_operators() -> None:
    operators: Any = importlib.import_module("airflow.sdk.bases.operator")
    contexts: Any = importlib.import_module("airflow.sdk.definitions._internal.contextmanager")
    original, meta = operators.BaseOperator.__init__, operators.BaseOperatorMeta

    def __init__(self: Any, **kwargs: Any) -> None:  # noqa: N807 - the class's own
        original(self, **_modern((_moved.TASK_RULES,), kwargs, kwargs.get("default_args")))

    functools.update_wrapper(__init__, original)
    __init__.__wrapped__ = original.__wrapped__  # type: ignore[attr-defined]  # what `_apply_defaults` compares with
    operators.BaseOperator.__init__ = __init__

    def __call__(cls: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - the metaclass's own
        rules = _rules_of_class(cls)
        if rules:
            dag = kwargs.get("dag") or contexts.DagContext.get_current()
            defaults = {**(getattr(dag, "default_args", None) or {}), **(kwargs.get("default_args") or {})}
            own = {name: kwargs[name] for name in kwargs.keys() & _declared(cls)}
            others = {name: value for name, value in kwargs.items() if name not in own}
            kwargs = {**_modern(rules, others, defaults), **own}
        return super(meta, cls).__call__(*args, **kwargs)

    meta.__call__ = __call__
    shared = operators.partial

    def partial(cls: Any, /, **kwargs: Any) -> Any:
        return shared(cls, **_modern((_moved.TASK_RULES, *_rules_of_class(cls)), kwargs))

    vars(operators.BaseOperator)["partial"].class_method = classmethod(partial)


@functools.lru_cache(maxsize=1024)
def _rules_of_class(cls: type) -> tuple[Any, ...]:
    found = [rules for base in cls.__mro__ for rules in _moved.rules_of(base.__module__, base.__name__)]
    return tuple({id(rules): rules for rules in found}.values())


@functools.lru_cache(maxsize=1024)
def _declared(cls: Any) -> frozenset[str]:
    """Arguments that a class of an author names itself: they mean what it makes of them, whatever they meant once."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if owner.__module__.startswith("airflow."):
        return frozenset()
    return frozenset(inspect.signature(cls.__init__).parameters)


def _adapt_dags() -> None:
    dags: Any = importlib.import_module("airflow.sdk.definitions.dag")
    original = dags.DAG.__init__

    @functools.wraps(original)
    def __init__(self: Any, dag_id: str, *positional: Any, **given: Any) -> None:  # noqa: N807 - the class's own
        arguments, _, _ = _moved.modern_dag(positional, given)
        original(self, dag_id, **arguments)
        self.fileloc = sys._getframe(1).f_code.co_filename

    def take_in(dag: Any, others: Any) -> Any:
        """`dag >> task` of Airflow 1."""
        for task in others if isinstance(others, (list, tuple)) else [others]:
            task.dag = dag
        return others

    dags.DAG.__init__ = __init__
    dags.DAG.__rshift__ = dags.DAG.__lshift__ = take_in
    dags.DAG.test = dags.DAG.cli = lambda *_, **__: None  # each loading, and each try, would run the whole DAG


def _adapt_logging_mixin() -> None:
    """Airflow 2's was a base of every operator, so that a mixin of an author that derives from it handed the operator's
    arguments on to the operator. Airflow 3's operators have another one, and this one would be given them."""
    mixin: Any = importlib.import_module("airflow.utils.log.logging_mixin").LoggingMixin
    original = mixin.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **given: Any) -> None:  # noqa: N807 - the class's own
        if given.keys() <= {"context"}:
            original(self, *args, **given)
        else:
            super(mixin, self).__init__(*args, **given)

    mixin.__init__ = __init__
