"""Builders of images, called as programs: build, push, and the digest by which the registry knows what was pushed.

No SDK: whoever has one of them has logged it in to the registry, and knows its options and its proxies. Their output is
shown as it comes, on stderr.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode

BUILDERS = ("docker", "podman", "nerdctl", "buildah")
WITH_DIGEST_FILE = ("podman", "buildah")
"""Their `inspect` tells the digest of the image here, which is another one than the registry's."""
_STDERR = 2
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Builder(msgspec.Struct, frozen=True):
    program: str
    options: tuple[str, ...] = ()
    """For `build`, as they are."""

    def build_command(
        self, folder: Path, tag: str, *, platform: str, dockerfile: Path | None = None, labels: Mapping[str, str] = {}
    ) -> list[str]:
        named = [] if dockerfile is None else ["--file", str(dockerfile)]
        named += [f"--label={name}={value}" for name, value in labels.items()]
        return [self.program, "build", "--platform", platform, "--tag", tag, *named, *self.options, str(folder)]

    def build(self, command: Sequence[str]) -> None:
        """Raises `CommandFailed`."""
        _run(command, "the image was not built")

    def push(self, tag: str, scratch: Path) -> str:
        """`repository@sha256:...`, as the registry gives it out. Raises `CommandFailed`."""
        if self.program in WITH_DIGEST_FILE:
            file = scratch / "digest"
            _run([self.program, "push", "--digestfile", str(file), tag], "the image was not pushed")
            return f"{repository_of(tag)}@{_checked(file.read_text(), tag)}"
        _run([self.program, "push", tag], "the image was not pushed")
        inspect = [self.program, "image", "inspect", "--format", "{{json .RepoDigests}}", tag]
        answer = subprocess.run(inspect, capture_output=True, text=True, check=False)  # noqa: S603  # what was chosen
        known = msgspec.json.decode(answer.stdout, type=list[str]) if answer.returncode == 0 else []
        repository = repository_of(tag)
        found = next((each for each in known if each.rpartition("@")[0] == repository), "")
        return f"{repository}@{_checked(found.rpartition('@')[2], tag)}"


def find_builder(name: str | None, options: Sequence[str]) -> Builder:
    """The one that is named, else the first that is installed. Raises `CommandFailed`."""
    wanted = BUILDERS if name is None else (name,)
    for program in wanted:
        if shutil.which(program):
            return Builder(program, tuple(options))
    raise CommandFailed(
        ExitCode.NOT_READY,
        f"{' and '.join(wanted) if name else 'no builder of images'} is not on PATH; install one of "
        f"{', '.join(BUILDERS)}",
    )


def repository_of(tag: str) -> str:
    """`host:5000/name` of `host:5000/name:tag`."""
    head, slash, last = tag.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _checked(digest: str, tag: str) -> str:
    digest = digest.strip()
    if not _DIGEST.fullmatch(digest):
        raise CommandFailed(
            ExitCode.UNEXPECTED,
            f"{tag} was pushed, and the builder does not say under which digest; nothing was registered. "
            "Deploy again, or with another --builder",
        )
    return digest


def _run(command: Sequence[str], otherwise: str) -> None:
    try:
        done = subprocess.run(command, stdout=_STDERR, stdin=subprocess.DEVNULL, check=False)  # noqa: S603  # chosen
    except OSError as error:
        raise CommandFailed(ExitCode.NOT_READY, f"{otherwise}: {command[0]}: {error.strerror}") from error
    if done.returncode:
        raise CommandFailed(
            ExitCode.NOT_READY, f"{otherwise}: `{' '.join(command)}` ended with exit code {done.returncode} (see above)"
        )
