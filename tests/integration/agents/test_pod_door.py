"""Attack 27: the port for pods speaks TLS, a pod checks who answers, and a token opens its own try alone."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
import trio_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from grpclib import GRPCError
from grpclib.client import Channel, StreamStreamMethod

from leoflowd.agents.service import Door
from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec
from leoflowd.kube.identity import PodIdentities
from leoflowd.kube.pod_spec import pod_name
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.certificates import self_signed
from tests.integration.agents.conftest import REFUSED, Service, serve_agents
from tests.integration.scheduler.conftest import dag, task, utc_now

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Cluster:
    """Of the API: its public keys."""

    async def fetch_signing_keys(self) -> bytes:
        await trio.lowlevel.checkpoint()
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        return json.dumps({"keys": [{**public, "kid": "k1", "alg": "RS256", "use": "sig"}]}).encode()


def token(try_id: str, *, key: Any = KEY, kid: str = "k1", uid: str = "u", **claims: Any) -> str:
    place = {"namespace": claims.pop("namespace", "leoflow"), "pod": {"name": pod_name("t", try_id), "uid": uid}}
    said = {"aud": ["leoflow"], "exp": time.time() + 600, "kubernetes.io": place, **claims}
    return jwt.encode({k: v for k, v in said.items() if v is not None}, key, algorithm="RS256", headers={"kid": kid})


class Lines:
    """Wants one trigger host."""

    def __init__(self) -> None:
        self._ends = [trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in socket.socketpair()]

    def connect(self, host_id: str) -> trio.SocketStream | None:
        return self._ends[1] if host_id == HOST else None

    def exited(self, host_id: str, end: m.TriggerHostExit) -> None:
        raise AssertionError("it says hello and no more")

    def close(self) -> None:
        for end in self._ends:
            end.socket.close()


HOST = "0" * 8 + "-0000" * 3 + "-" + "0" * 12


class Behind:
    def __init__(self, service: Service, port: int, ca: str) -> None:
        self.service = service
        self.port = port
        self.ca = ca

    async def first_word(
        self, hello: m.TryHello | m.TriggerHostHello, *, ca: str | None = None, host: str = "127.0.0.1"
    ) -> Any:
        """What the daemon says to it; raises what the client sees."""
        tls = ssl.create_default_context(cadata=self.ca if ca is None else ca)
        tls.set_alpn_protocols(["h2"])
        channel = Channel(host, self.port, codec=MsgpackCodec(), ssl=tls)
        is_try = isinstance(hello, m.TryHello)
        how = (m.TRY, m.FromTry, m.ToTry) if is_try else (m.TRIGGER_HOST, m.FromTriggerHost, m.ToTriggerHost)
        opened = StreamStreamMethod(channel, *how).open()
        try:
            with trio.fail_after(PATIENCE_S):
                stream = await trio_asyncio.aio_as_trio(opened.__aenter__)()
                await trio_asyncio.aio_as_trio(stream.send_message)(hello)
                return await trio_asyncio.aio_as_trio(stream.recv_message)()
        finally:
            channel.close()


@pytest.fixture
async def behind(database: Database, tmp_path: Path) -> AsyncIterator[Behind]:
    context, ca = self_signed(tmp_path)
    context.set_alpn_protocols(["h2"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    identities = PodIdentities(Cluster(), namespace="leoflow")  # type: ignore[arg-type]
    lines = Lines()
    door = Door("127.0.0.1", port, context, identities, trigger_hosts=lines)
    async with serve_agents(database, tmp_path, door) as service:
        yield Behind(service, port, ca)
    lines.close()


async def a_try(behind: Behind) -> str:
    await behind.service.world.create(dag("d", task("t")))
    return (await behind.service.world.launched_ids(1))["t"]


def hello(try_id: str, said: str) -> m.TryHello:
    return m.TryHello(try_id=try_id, token=said, hostname="pod", wants_spec=True, protocol=m.PROTOCOL)


async def test_a_pods_token_opens_its_try_over_tls(behind: Behind) -> None:
    try_id = await a_try(behind)
    answer = await behind.first_word(hello(try_id, token(try_id)))
    assert isinstance(answer, m.Welcome)
    assert answer.spec is not None
    assert answer.spec.try_id == try_id


STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "odd",
    [
        {"namespace": "other"},
        {"aud": ["https://kubernetes.default.svc"]},
        {"aud": None},
        {"exp": time.time() - 60},
        {"exp": None},
        {"kubernetes.io": {"namespace": "leoflow", "pod": {"name": pod_name("t", "another")}}},
        {"kubernetes.io": {"namespace": "leoflow", "serviceaccount": {"name": "default"}}},
        {"key": STRANGER},
        {"kid": "k2"},
    ],
    ids=["namespace", "audience", "no audience", "expired", "no expiry", "other pod", "no pod", "key", "unknown key"],
)
async def test_no_other_token_does(behind: Behind, odd: dict[str, Any]) -> None:
    try_id = await a_try(behind)
    with pytest.raises(REFUSED) as refused:
        await behind.first_word(hello(try_id, token(try_id, **odd)))
    assert not isinstance(refused.value, GRPCError) or "not the one of this try" in str(refused.value)


async def test_a_second_pod_of_a_try_hears_nothing_of_it_and_the_try_is_lost(behind: Behind) -> None:
    """The first one may have run it: it is gone, since two pods have no name together."""
    try_id = await a_try(behind)
    assert isinstance(await behind.first_word(hello(try_id, token(try_id, uid="first"))), m.Welcome)
    answer = await behind.first_word(hello(try_id, token(try_id, uid="second")))
    assert isinstance(answer, m.Terminate)
    assert answer.stale
    [(refused, kind, because)] = behind.service.refused
    assert (refused, kind) == (try_id, m.OutcomeKind.LOST)
    assert because.startswith("its pod began it and is gone")


async def test_the_pod_that_has_a_try_may_come_again_as_often_as_it_likes(behind: Behind) -> None:
    try_id = await a_try(behind)
    for _ in range(2):
        answer = await behind.first_word(hello(try_id, token(try_id)))
        assert isinstance(answer, m.Welcome)
        assert answer.spec is not None
    assert behind.service.refused == []


async def test_of_pods_that_ask_together_one_gets_the_try(behind: Behind) -> None:
    try_id = await a_try(behind)
    answers: list[Any] = []

    async def ask(uid: str) -> None:
        answers.append(await behind.first_word(hello(try_id, token(try_id, uid=uid))))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(ask, f"pod {number}")
    assert sorted(type(answer) is m.Welcome for answer in answers) == [False] * 4 + [True]


async def test_a_try_that_goes_on_begins_in_another_pod(behind: Behind) -> None:
    """Rescheduled: its number is the same, its id is new, and the pod of before has nothing more to say."""
    world = behind.service.world
    try_id = await a_try(behind)
    assert isinstance(await behind.first_word(hello(try_id, token(try_id, uid="first"))), m.Welcome)
    row = await world.row(try_id)
    now = utc_now()
    again = m.Outcome(kind=m.OutcomeKind.RESCHEDULE, because="not yet", start_date=now, end_date=now, reschedule_at=now)
    with trio.fail_after(PATIENCE_S):
        await world.inbox.try_ended(row, again, None)
    goes_on = (await world.launched_ids(1))["t"]
    old = await behind.first_word(hello(try_id, token(try_id, uid="first")))
    assert isinstance(old, m.Terminate)
    assert isinstance(await behind.first_word(hello(goes_on, token(goes_on, uid="second"))), m.Welcome)
    assert behind.service.refused == []


async def test_an_agent_that_is_answered_by_somebody_else_says_nothing(behind: Behind, tmp_path: Path) -> None:
    try_id = await a_try(behind)
    (tmp_path / "other").mkdir()
    _, stranger = self_signed(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        await behind.first_word(hello(try_id, token(try_id)), ca=stranger)


async def test_a_certificate_for_another_name_is_none(behind: Behind) -> None:
    try_id = await a_try(behind)
    with pytest.raises(ssl.SSLCertVerificationError):
        await behind.first_word(hello(try_id, token(try_id)), host="localhost")


async def test_a_trigger_hosts_line_is_for_its_own_pod(behind: Behind) -> None:
    try_id = await a_try(behind)

    def hello(host_id: str, said: str) -> m.TriggerHostHello:
        return m.TriggerHostHello(host_id=host_id, token=said, hostname="pod", protocol=m.PROTOCOL)

    with pytest.raises(REFUSED) as refused:
        await behind.first_word(hello(HOST, token(try_id)))
    assert not isinstance(refused.value, GRPCError) or "not the one of this trigger host" in str(refused.value)
    with pytest.raises(REFUSED) as unknown:
        await behind.first_word(hello(try_id, token(try_id)))
    assert not isinstance(unknown.value, GRPCError) or "wants no such trigger host" in str(unknown.value)
    assert isinstance(await behind.first_word(hello(HOST, token(HOST))), m.TriggerHostWelcome)
