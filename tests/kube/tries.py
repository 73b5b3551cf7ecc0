"""Tries and their pods, for the tests of everything that has to do with pods."""

from __future__ import annotations

import uuid

import msgspec

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.dispatch import Placement
from leoflowd.kube.pod_spec import build_pod, pod_name
from leoflowd.kube.policy import PodPolicy
from tests.unit.executors.builders import try_spec

IMAGE = "registry.example/dag@sha256:" + "0" * 64
POLICY = PodPolicy(
    namespace="leoflow",
    installation="test",
    agent_address="leoflowd:9000",
    requests={"cpu": "100m", "memory": "256Mi"},
    limits={"memory": "512Mi"},
)


def new_try(task_id: str = "load") -> TrySpec:
    return msgspec.structs.replace(try_spec(str(uuid.uuid4())), task_id=task_id)


def pod_of(spec: TrySpec, **placement: object) -> bytes:
    return build_pod(spec, Placement(**{"image": IMAGE, **placement}), POLICY)  # type: ignore[arg-type]


def name_of(spec: TrySpec) -> str:
    return pod_name(spec.task_id, spec.try_id)
