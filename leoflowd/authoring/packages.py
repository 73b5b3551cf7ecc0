"""Which packages a project's environment needs: what its settings and requirements name, and what its code imports.

`needs_of` is pure: imports (`closure`), settings and requirements in, an `EnvironmentSpec` out, with a reason for
whatever nobody has named. Airflow's providers go by their published names; third parties by the project's requirements,
then by the table of `import_names`. A module that is in neither is an error: nothing is installed because it sounds
alike. ADR 37.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import msgspec

from leoflowd.authoring.closure import Outside, asks_for_dbt
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.import_names import (
    BASE,
    BESIDE_PROVIDERS,
    NAMED_LIKE_THEIR_MODULE,
    NEEDING_AIRFLOW,
    OTHERWISE_NAMED,
    PROVIDERS,
)
from leoflowd.authoring.project import ProjectConfig
from leoflowd.authoring.requirement_names import name_of, normalised
from leoflowd.authoring.requirements import Requirements
from leoflowd.contract.dag_spec import EnvironmentSpec, has_airflow
from leoflowd.contract.overriding import override

OURS = frozenset({"airflow", "leoflow", "leoflow_agent", "__main__"})
GONE = frozenset(
    {"distutils", "imp", "asynchat", "asyncore", "smtpd", "cgi", "crypt", "telnetlib", "pipes", "xxlimited"}
)
"""Of the standard library once; the interpreter of the environment may have them still."""
ALWAYS_THERE = frozenset({"standard", "common-compat"})
"""What we run of these needs no package."""
BROUGHT = {"google": "google", "azure": "microsoft-azure"}
"""Namespaces of many distributions, and the provider that brings most of them."""
PREFIX = "airflow.providers."
NOT_RUN = {
    "cosmos": (
        "the operators of astronomer-cosmos build on insides of Airflow that a compiled DAG does not have",
        "write dbt_group(...) of leoflow.dbt in place of DbtTaskGroup, or `dbt:` in the leoflow.yaml of the dbt "
        "project in place of DbtDag (docs/operators.md)",
    )
}
"""Packages that load and never run here: why, and what takes their place."""

DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    **{module: (module.replace("_", "-"),) for module in NAMED_LIKE_THEIR_MODULE.split()},
    **{line.split()[0]: tuple(line.split()[1:]) for line in OTHERWISE_NAMED.strip().splitlines()},
}


BESIDE: Mapping[str, tuple[str, ...]] = {
    f"{PREFIX}{module}": tuple(others)
    for module, *others in (line.split() for line in BESIDE_PROVIDERS.strip().splitlines())
}


class Inferred(msgspec.Struct, frozen=True):
    """A package that nobody has named, and the import that asks for it."""

    package: str
    module: str
    path: str
    line: int

    @override
    def __str__(self) -> str:
        return f"{self.package}, because {self.path}:{self.line} imports {self.module}"


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    environment: EnvironmentSpec
    alone: EnvironmentSpec | None = None
    """What the file itself needs, where `environment` is the one that it shares with its neighbours."""
    inferred: tuple[Inferred, ...]
    unknown: tuple[DagCompileError, ...]
    """One per module that the file needs when it is loaded and that no known package brings."""
    notes: tuple[str, ...]
    modules: frozenset[str]
    """Third parties' that loading the file imports."""

    @property
    def loads_with_base(self) -> bool:
        """Whether every environment has what loading the file imports."""
        return self.modules <= BASE.keys()


def _same(module: str, name: str) -> tuple[str, str]:
    return module, name


def _only(module: str, name: str) -> tuple[str, ...]:
    return (module,)


class Shim(msgspec.Struct, frozen=True):
    """What Leoflow knows of Airflow's modules without any package."""

    modules: Mapping[str, Mapping[str, str]]
    """Module -> the names in it that need no package."""
    today: Callable[[str, str], tuple[str, str]] = _same
    """Where a name of an earlier release is now: (module, name)."""
    behind: Callable[[str, str], tuple[str, ...]] = _only
    """The modules that an import of a name leads to: today's, and those whose connections it uses."""

    def has(self, module: str, name: str) -> bool:
        module, name = self.today(module, name)
        known = self.modules.get(module, {})
        return bool(known) and (not name or name in known or f"{module}.{name}" in self.modules)


def needs_of(
    outside: Iterable[Outside],
    config: ProjectConfig,
    requirements: Requirements,
    shim: Shim,
    extra: Iterable[str] = (),
    *,
    neighbours: Iterable[Outside] = (),
) -> Needs:
    """`extra`: connectors that turned out to be needed when the file was loaded; `neighbours`: what the other DAG files
    of the folder import, whose environment it shares as soon as its own imports need one (ADR 52)."""
    search = _Search(config, requirements, shim)
    for one in outside:
        search.add(one)
    own = search.needs(frozenset(extra))
    is_with_airflow = has_airflow(own.environment)
    if not (is_with_airflow or own.inferred):
        return own  # no neighbour makes it wait for packages
    for one in neighbours:
        search.add(one)
    shared = search.needs(frozenset(extra)).environment if is_with_airflow else search.without_airflow(own.environment)
    return own if shared == own.environment else msgspec.structs.replace(own, environment=shared, alone=own.environment)


def provider_of(module: str) -> str | None:
    """`airflow.providers.cncf.kubernetes.operators.pod` -> `cncf-kubernetes`; None when there is none."""
    parts = module.removeprefix(PREFIX).split(".")
    return next((name for n in (2, 1) if (name := "-".join(parts[:n]).replace("_", "-")) in PROVIDERS), None)


def beside(full: str) -> tuple[str, ...]:
    """What a module of a provider, or a name in one, needs that its package does not require."""
    while full and full not in BESIDE:
        full = full.rpartition(".")[0]
    return BESIDE.get(full, ())


def distributions_of(full: str) -> tuple[str, ...] | None:
    """Those that bring a module, or a name in one, the usual one first; None when nobody knows."""
    while full and full not in DISTRIBUTIONS:
        full = full.rpartition(".")[0]
    return DISTRIBUTIONS.get(full)


@lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    """The distributions of which we know what they bring."""
    return frozenset(name_of(one) for found in (*DISTRIBUTIONS.values(), tuple(BASE.values())) for one in found)


def is_known(module: str) -> bool:
    """A module of Python, of Airflow or of a package that we know: a folder of its name is not what an import means."""
    return module in OURS or module in sys.stdlib_module_names or module in BASE or distributions_of(module) is not None


class _Search:
    def __init__(self, config: ProjectConfig, requirements: Requirements, shim: Shim) -> None:
        self.config = config
        self.requirements = requirements
        self.shim = shim
        self.named = {name_of(text) for text in config.dependencies} | {one.name for one in requirements.packages}
        self.left_out = dict(requirements.left_out)
        self.inferred: dict[str, Inferred] = {}
        """By distribution."""
        self.providers: dict[str, Inferred] = {}
        """Those that only the real packages serve."""
        self.served: dict[str, Inferred] = {}
        """Those of which we have what is imported."""
        self.unknown: dict[str, DagCompileError] = {}
        self.undeclared: dict[str, str] = {}
        """By module, which only a function imports: the note on it."""
        self.modules: set[str] = set()

    def add(self, one: Outside) -> None:
        module = one.what.module
        top = module.partition(".")[0]
        if top == "airflow":
            self._add_airflow(one, module)
        elif top in OURS or top in sys.stdlib_module_names or top in GONE:
            if asks_for_dbt(one.what):
                self._add_dbt(one)
        else:
            if one.what.when != "call":
                self.modules.add(top)
            if top not in BASE:
                self._add_third_party(one, top)

    def _add_dbt(self, one: Outside) -> None:
        """Loading the file asks dbt what the tasks are."""
        self.modules.add("dbt")
        if "dbt-core" not in self.named:
            self.inferred.setdefault("dbt-core", Inferred("dbt-core", one.what.module, one.path, one.what.line))

    def _add_third_party(self, one: Outside, top: str) -> None:
        if top in NOT_RUN and one.what.when == "load":
            what = f"the module {one.what.module!r} is imported"
            self.unknown.setdefault(top, DagCompileError(one.path, one.what.line, what, *NOT_RUN[top]))
            return
        for full in [f"{one.what.module}.{name}" for name in one.what.names] or [one.what.module]:
            found = distributions_of(full)
            if found is None:
                if normalised(top) not in self.named:
                    self._note_unknown(one, top)
            elif not any(name_of(distribution) in self.named for distribution in found):
                self.inferred.setdefault(found[0], Inferred(found[0], one.what.module, one.path, one.what.line))

    def _note_unknown(self, one: Outside, top: str) -> None:
        """An unnamed requirement may bring it; who does without it, or needs it in a task, is only told."""
        what = f"the module {top!r} is imported"
        remedy = "name its package in requirements.txt or in `dependencies:` of leoflow.yaml, or correct the name"
        if one.what.when == "optional" or self._may_be_named():
            return
        if one.what.when == "load":
            unknown = "no file of the project has this name, and Leoflow knows no package that brings it"
            why = self.left_out.get(normalised(top), unknown)
            self.unknown.setdefault(top, DagCompileError(one.path, one.what.line, what, why, remedy))
        elif top not in self.unknown:
            note = f"{one.path}:{one.what.line}: {what} in a function, and no known package brings it; {remedy}"
            self.undeclared.setdefault(top, note)

    def _may_be_named(self) -> bool:
        """Whether the author names packages of which we do not know what they bring."""
        return not self.named <= _known_names()

    def _add_airflow(self, one: Outside, module: str) -> None:
        for name in one.what.names or ("",):
            if module == "airflow.providers":
                self._add_provider(one, f"{module}.{name}", is_served=False)
                continue
            is_served = self.shim.has(module, name)
            for behind in self.shim.behind(module, name):
                if behind.startswith(PREFIX):
                    self._add_provider(one, behind, is_served=is_served, name=name)

    def _add_provider(self, one: Outside, module: str, *, is_served: bool, name: str = "") -> None:
        provider = provider_of(module)
        if provider is None:
            if one.what.when == "load":
                why = "Airflow has no provider of this name"
                remedy = "correct the name, or name the package that brings it in requirements.txt"
                error = DagCompileError(one.path, one.what.line, f"the module {module!r} is imported", why, remedy)
                self.unknown.setdefault(module, error)
        elif provider not in ALWAYS_THERE:
            for wanted in (provider, *beside(f"{module}.{name}")):
                self._add_wanted(one, wanted, is_served=is_served)

    def _add_wanted(self, one: Outside, wanted: str, *, is_served: bool) -> None:
        """A provider, or a package that one needs beside it."""
        if wanted in PROVIDERS:
            asked = Inferred(f"apache-airflow-providers-{wanted}", one.what.module, one.path, one.what.line)
            (self.served if is_served else self.providers).setdefault(wanted, asked)
        elif wanted not in self.named and not is_served:
            self.inferred.setdefault(wanted, Inferred(wanted, one.what.module, one.path, one.what.line))

    def without_airflow(self, own: EnvironmentSpec) -> EnvironmentSpec:
        """`own`, and third parties that anybody imports."""
        found = [name for name in self.inferred if name_of(name) not in NEEDING_AIRFLOW]
        return msgspec.structs.replace(own, dependencies=(*self._asked_for(), *sorted(found)))

    def _asked_for(self) -> tuple[str, ...]:
        """By settings and requirements; what the settings say of a package counts."""
        own = {name_of(text) for text in self.config.dependencies}
        listed = (one.text for one in self.requirements.packages if one.name not in own)
        return (*self.config.dependencies, *listed)

    def needs(self, extra: frozenset[str]) -> Needs:
        config, listed = self.config, set(self.requirements.providers) & PROVIDERS
        own = {name_of(text) for text in config.dependencies}
        dependencies = (*self._asked_for(), *sorted(self.inferred))
        named = {connector.replace(".", "-") for connector in config.connectors}
        needed = named | set(self.providers) | {connector.replace(".", "-") for connector in extra}
        if any(name_of(text) in NEEDING_AIRFLOW for text in dependencies):
            needed.add("standard")
        if needed or has_airflow(EnvironmentSpec(dependencies=dependencies)):
            # Hooks are found by the type of a connection, so that what the author lists is needed without an import.
            needed |= set(self.served) | listed
        for top, provider in BROUGHT.items():
            if provider in needed:
                self.unknown.pop(top, None)
        asked = {**self.served, **self.providers}
        extras = tuple(
            f"apache-airflow-providers-{provider}[{extra}]"
            for provider, extra in self.requirements.extras
            if provider in needed
        )
        return Needs(
            environment=EnvironmentSpec(
                python_version=config.python_version,
                dependencies=(*dependencies, *extras),
                yielding=tuple(one.text for one in self.requirements.packages if one.name not in own and one.name),
                connectors=(*config.connectors, *sorted(name.replace("-", ".") for name in needed - named)),
                system_packages=config.system_packages,
                warm=config.warm,
            ),
            inferred=(
                *self.inferred.values(),
                *(asked[name] for name in sorted(needed - named - listed) if name in asked),
            ),
            unknown=tuple(self.unknown.values()),
            notes=tuple(self.undeclared.values()),
            modules=frozenset(self.modules),
        )
