"""`leoflowd` that notes when it hears of a pod's end and when it asks for a pod; `loadtests.pods` starts it and reads
the file. Otherwise the daemon as it is. A line: seconds since the epoch, `heard` or `asked`, the id of the try.
"""

from __future__ import annotations

import os
import time

from leoflowd.__main__ import main
from leoflowd.executors.pod_watcher import PodWatcher
from leoflowd.kube.api import KubeApi, PodList, Seen
from leoflowd.kube.objects import Pod

NOTES = "LOADTEST_NOTES"
"""Environment variable: the file's path."""
NAME = b'"name":"'
ID_CHARS = 36


def install(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    create, see = KubeApi.create_pod, PodWatcher.see

    def note(what: str, try_id: str) -> None:
        os.write(file, f"{time.time():.6f} {what} {try_id}\n".encode())

    async def create_noted(self: KubeApi, pod: bytes) -> None:
        begin = pod.index(NAME) + len(NAME)
        note("asked", pod[begin : pod.index(b'"', begin)][-ID_CHARS:].decode())
        await create(self, pod)

    def see_noted(self: PodWatcher, news: PodList | Seen) -> None:
        if isinstance(news, Seen) and isinstance(news.pod, Pod) and news.pod.facts.terminated is not None:
            note("heard", news.pod.try_id)
        see(self, news)

    KubeApi.create_pod = create_noted  # type: ignore[method-assign]
    PodWatcher.see = see_noted  # type: ignore[method-assign]


if __name__ == "__main__":
    install(os.environ[NOTES])
    main()
