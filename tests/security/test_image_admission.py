"""Attack 31: an image whose bytes could change. Of versions that nobody signed: `integration/api/test_admission.py`."""

from __future__ import annotations

import msgspec
import pytest

from leoflowd.contract.dispatch import Placement
from leoflowd.core.pod_wishes import PodRefused
from leoflowd.kube.wishes import image_of
from tests.kube.tries import IMAGE, POLICY

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "image",
    [
        "registry.example/dag",
        "registry.example/dag:latest",
        f"registry.example/dag:sha256-{HEX}",
        f"registry.example/dag@sha256:{HEX[:-1]}",
        f"registry.example/dag@sha256:{HEX}0",
        f"registry.example/dag@sha256:{HEX.upper()}",
        f"registry.example/dag@sha512:{HEX}",
        f"registry.example/dag@sha256:{HEX}\n",
        f"registry.example/dag@sha256:{HEX}@latest",
        f"@sha256:{HEX}",
    ],
)
def test_an_image_that_is_not_named_by_its_digest_makes_no_pod(image: str) -> None:
    for placement, policy in (
        (Placement(image=image), POLICY),
        (Placement(), msgspec.structs.replace(POLICY, image=image)),
    ):
        with pytest.raises(PodRefused, match="not pinned by digest"):
            image_of(placement, policy)


def test_tags_are_for_those_who_ask_for_them() -> None:
    assert image_of(Placement(image=IMAGE), POLICY) == IMAGE
    assert image_of(Placement(image="dag:1"), msgspec.structs.replace(POLICY, allow_tags=True)) == "dag:1"
    with pytest.raises(PodRefused, match="names none"):
        image_of(Placement(), msgspec.structs.replace(POLICY, image="", allow_tags=True))
