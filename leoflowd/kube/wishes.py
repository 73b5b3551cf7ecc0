"""An author's wishes for a pod, as far as whoever runs Leoflow allows them: the settings' part of the allow-list.

`core.pod_wishes` has said which fields there are; `pod_spec` writes the policy after these wishes.
"""

from __future__ import annotations

import re

from leoflowd.contract.dispatch import Placement
from leoflowd.contract.values import shown
from leoflowd.core import pod_wishes
from leoflowd.core.pod_wishes import CONTAINER, PodRefused, Wishes, refused
from leoflowd.kube.policy import PodPolicy

DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")


def allowed_wishes(placement: Placement, policy: PodPolicy) -> Wishes:
    """Raises `PodRefused`."""
    wishes = pod_wishes.wishes_of(placement)
    if wishes.service_account and wishes.service_account not in {policy.service_account, *policy.service_accounts}:
        raise refused(
            f"execution.service_account {shown(wishes.service_account, 100)!r}",
            "it carries rights in the cluster; whoever runs Leoflow allows it with LEOFLOW_KUBERNETES_SERVICE_ACCOUNTS",
        )
    for variable in wishes.env:
        secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
        if secret is not None and secret not in policy.secrets:
            raise refused(
                f"pod_override.spec.containers[{CONTAINER!r}].env[{variable['name']!r}]",
                f"secret {secret!r} is not one that LEOFLOW_KUBERNETES_SECRETS allows",
            )
    return wishes


def image_of(placement: Placement, policy: PodPolicy) -> str:
    """Raises `PodRefused`."""
    image = placement.image or policy.image
    if not image:
        raise PodRefused(
            "its environment cannot be built: a pod needs an image, and this version names none; push one with "
            "`image: repository@sha256:...` in leoflow.yaml, or set LEOFLOW_KUBERNETES_IMAGE"
        )
    if policy.allow_tags or DIGEST.fullmatch(image):
        return image
    raise PodRefused(
        f"image {shown(image, 200)!r} is not pinned by digest (repository@sha256:...), so what runs could change "
        "between two tries; pin it, or allow tags with LEOFLOW_KUBERNETES_ALLOW_TAGS"
    )
