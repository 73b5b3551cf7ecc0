"""Whose versions this server takes: the signature of an artifact, checked before it is registered. ADR 105."""

from __future__ import annotations

import msgspec

from leoflowd.contract.errors import NotAllowed
from leoflowd.contract.signatures import HEADER, Signer, signer_of


class Admission(msgspec.Struct, frozen=True):
    signers: tuple[Signer, ...] = ()
    """Whose signatures are checked; without any a signature says nothing here."""
    is_required: bool = False

    @property
    def word(self) -> str:
        """For whoever is about to deploy: are signatures `required`, `checked` where there are some, or `ignored`?"""
        return "required" if self.is_required else "checked" if self.signers else "ignored"

    def signer_of(self, dag_id: str, artifact: bytes, signature: str | None) -> str | None:
        """Who signed it, for people; None: nobody, or nobody looks. Raises `NotAllowed`."""
        if signature is not None and self.signers:
            return str(signer_of(self.signers, signature, artifact))
        self.check(dag_id, None)
        return None

    def check(self, dag_id: str, signed_by: str | None) -> None:
        """Of a version that is to run. Raises `NotAllowed`."""
        if self.is_required and signed_by is None:
            raise NotAllowed(
                f"this version of Dag `{dag_id}` is not signed, and this server runs signed versions only: deploy it "
                f"with `--sign-key FILE`, which sends {HEADER}"
            )
