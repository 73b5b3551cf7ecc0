"""Where the API server is and who we are: the `kubernetes` package reads that, and nothing else of it is used.

It knows kubeconfigs, contexts, exec plugins, cloud logins and the files of a pod's service account, and when a token
is to be asked for again. It does so with blocking calls, so everything here runs in a thread.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import trio
from kubernetes.client.configuration import Configuration
from kubernetes.config import incluster_config, kube_config
from kubernetes.config.config_exception import ConfigException

from leoflowd.config import ConfigRefused, KubernetesConfig
from leoflowd.contract.errors import KubeUnavailable

T = TypeVar("T")
LOAD_WITHIN_S = 60.0
"""Exec plugins of clouds ask their servers."""
TOKEN_KEPT_S = 20.0
"""Tokens are rotated minutes before they end."""


class Credentials:
    """`host` and `tls` stand; `headers` gives the token of the moment."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration: Any = configuration
        self._headers: dict[str, str] = {}
        self._asked_at = -TOKEN_KEPT_S
        self._lock = trio.Lock()
        self.host: str = configuration.host.rstrip("/")
        self.tls = _tls(configuration) if self.host.startswith("https") else None
        self.server_name: str | None = configuration.tls_server_name

    async def headers(self) -> dict[str, str]:
        """Raises `KubeUnavailable` when no token is to be had now."""
        async with self._lock:
            if trio.current_time() - self._asked_at >= TOKEN_KEPT_S:
                self._headers = await _in_thread(self._authorization)
                self._asked_at = trio.current_time()
            return self._headers

    def forget(self) -> None:
        """The API server does not take the token: ask for it again before the next request."""
        self._asked_at = -TOKEN_KEPT_S

    def _authorization(self) -> dict[str, str]:
        token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": token} if token else {}


async def load_credentials(config: KubernetesConfig) -> Credentials:
    """Raises `ConfigRefused` when there is nothing to read, `KubeUnavailable` when a login fails."""
    configuration = Configuration()
    return await _in_thread(lambda: Credentials(_load(config, configuration)))


def _load(config: KubernetesConfig, configuration: Configuration) -> Configuration:
    try:
        if config.kubeconfig is None and incluster_config.SERVICE_HOST_ENV_NAME in os.environ:
            incluster_config.load_incluster_config(client_configuration=configuration)
        else:
            kube_config.load_kube_config(
                config_file=None if config.kubeconfig is None else str(config.kubeconfig),
                context=config.context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, FileNotFoundError) as error:
        raise ConfigRefused(
            f"no way to a Kubernetes cluster: {error}; run as a pod of it, or set LEOFLOW_KUBERNETES_KUBECONFIG"
        ) from error
    return configuration


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        with trio.fail_after(LOAD_WITHIN_S):
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    except (ConfigException, OSError, trio.TooSlowError) as error:
        because = "it took too long" if isinstance(error, trio.TooSlowError) else error
        raise KubeUnavailable(f"the login to the Kubernetes cluster failed: {because}") from error


def _tls(configuration: Any) -> ssl.SSLContext:
    """Always verified: `insecure-skip-tls-verify` would send our token to whoever answers."""
    if not configuration.verify_ssl:
        raise ConfigRefused("the kubeconfig says insecure-skip-tls-verify; name the cluster's CA instead")
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
