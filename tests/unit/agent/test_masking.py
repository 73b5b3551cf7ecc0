"""What a task read as a secret is not in its log, in whatever form it shows it."""

from __future__ import annotations

import base64
import json
import runpy
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflow_agent.masking import Secrets
from leoflow_agent.runner import secret_forms
from leoflowd.authoring.compiler import SHIM
from leoflowd.core import secret_names

PASSWORD = "päss/wörd +'\"&\\9"
PEM = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA1\nabcdEFGH0123\nx\n-----END KEY-----\n"


def _secrets(*texts: str) -> Secrets:
    secrets = Secrets()
    secrets.hide(texts)
    return secrets


def test_the_names_of_secrets_are_the_same_in_runner_shim_and_daemon() -> None:
    shim = runpy.run_path(str(SHIM / "airflow" / "_leoflow" / "secret_names.py"))
    assert secret_forms.SECRET_NAMES == shim["SECRET_NAMES"] == secret_names.SECRET_NAMES


def test_a_secret_inside_a_longer_one_leaves_nothing_behind() -> None:
    assert _secrets("sesame", "open-sesame-2").in_output(b"open-sesame-2 sesame") == b"*** ***"


def test_texts_of_a_record_are_hidden_however_deep_and_its_keys_stay() -> None:
    assert _secrets("event").in_record({"event": "an event", "n": 1, "frames": [{"line": "event"}]}) == {
        "event": "an ***",
        "n": 1,
        "frames": [{"line": "***"}],
    }


def test_a_short_text_would_make_the_log_unreadable_and_stays() -> None:
    assert _secrets("a").in_output(b"a banana") == b"a banana"


@pytest.mark.parametrize(
    "shown",
    [
        PASSWORD,
        quote(PASSWORD),
        quote(PASSWORD, safe=""),
        quote_plus(PASSWORD),
        json.dumps(PASSWORD),
        json.dumps(PASSWORD, ensure_ascii=False),
        repr(PASSWORD),
    ],
)
def test_a_secret_is_hidden_however_it_is_escaped(shown: str) -> None:
    secrets = _secrets(PASSWORD)
    assert (
        secrets.in_output(f"a {shown} b".encode())
        == b"a "
        + shown.encode().replace(shown.strip("\"'").encode() if shown[0] in "\"'" else shown.encode(), b"***")
        + b" b"
    )
    assert "***" in secrets.in_record(shown)


@given(st.text(max_size=7), st.text("abcdefgh+/?~é", min_size=5, max_size=30), st.text(max_size=7))
def test_a_secret_is_hidden_in_base64_of_whatever_holds_it(before: str, secret: str, after: str) -> None:
    secrets = _secrets(secret)
    raw = f"{before}{secret}{after}".encode()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        shown = secrets.in_output(encoded)
        assert b"***" in shown
        kept = len(shown) - len(b"***")
        # What stays belongs to the neighbours, but for a few bits at each edge.
        assert kept <= (len(before.encode()) + len(after.encode()) + 4) * 4 / 3 + 4


def test_each_line_of_a_key_is_hidden_but_not_its_frame() -> None:
    secrets = _secrets(PEM)
    assert [secrets.in_output(line.encode()) for line in PEM.splitlines()] == [
        b"-----BEGIN KEY-----",
        b"***",
        b"***",
        b"x",
        b"-----END KEY-----",
    ]
    assert secrets.in_output(PEM.encode()) == b"***"


def test_the_environment_names_its_secrets() -> None:
    found = secret_forms.of_environment(
        {
            "AIRFLOW_VAR_API_TOKEN": "t0ken-value",
            "AIRFLOW_VAR_SETTINGS": '{"region": "eu-central", "auth": {"client-secret": ["inner-secret"]}}',
            "AIRFLOW_VAR_NAME": "not hidden",
            "AIRFLOW_CONN_PG": "postgres://me:p%40ss-word@host/db?api_key=extra-key&sslmode=require",
            "AIRFLOW_CONN_J": '{"login": "me", "password": "json-password", "extra": {"token": "x-token"}}',
            "AIRFLOW_CONN_BROKEN": "http://[broken",
            "PASSWORD": "of nobody",
        }
    )
    assert {"t0ken-value", "inner-secret", "p%40ss-word", "p@ss-word", "extra-key", "json-password", "x-token"} <= {
        *found
    }
    assert not {"not hidden", "eu-central", "me", "require", "of nobody"} & {*found}


def test_a_cut_never_goes_through_a_secret() -> None:
    secrets = _secrets("sesame")
    assert [secrets.cut_before(b"xxsesamexx", at) for at in range(1, 10)] == [1, 2, 8, 8, 8, 8, 8, 8, 9]
