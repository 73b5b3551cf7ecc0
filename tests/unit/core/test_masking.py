"""What is shown of an extra, and what a form that comes back means."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.core.masking import (
    is_deeper_than,
    masked,
    masked_text,
    places,
    stands_for_secrets,
    unmasked,
    unmasked_text,
    without_secrets,
)

STORED: dict[str, Any] = {
    "region": "eu",
    "token": "t0",
    "nested": {"api_key": "k0", "list": [{"private_key": "p0"}]},
    "secret": {"a": "a0", "b": [1, "b0"]},
}


def test_what_sounds_secret_is_masked_at_every_depth() -> None:
    assert masked(STORED) == {
        "region": "eu",
        "token": "***",
        "nested": {"api_key": "***", "list": [{"private_key": "***"}]},
        "secret": {"a": "***", "b": ["***", "***"]},
    }


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "AWS_SECRET_ACCESS_KEY",
        "My Token",
        "apikey",
        "dsn",
        "http_proxy",
        "extra__x__keyfile_dict",
        "X-Api-Key",
    ],
)
def test_names_are_matched_in_part_and_without_case(name: str) -> None:
    assert masked({name: "v"}) == {name: "***"}


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_not_masked(value: Any) -> None:
    assert masked({"token": value}) == {"token": value}


def test_a_form_saved_as_it_was_shown_changes_nothing() -> None:
    assert unmasked(masked(STORED), STORED) == STORED


def test_a_typed_secret_replaces_the_stored_one() -> None:
    assert unmasked({**masked(STORED), "token": "t1"}, STORED)["token"] == "t1"


def test_a_removed_field_is_removed() -> None:
    assert unmasked({"region": "us"}, STORED) == {"region": "us"}


def test_three_stars_under_a_harmless_name_are_text() -> None:
    assert unmasked({"region": "***"}, STORED) == {"region": "***"}


@pytest.mark.parametrize("form", [{"password": "***"}, {"secret": "***"}, {"nested": {"list": [{}, {"token": "***"}]}}])
def test_three_stars_for_nothing_stored_are_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stands for a stored secret"):
        unmasked(form, STORED)


def test_depth_counts_levels() -> None:
    assert not is_deeper_than({"a": [1]}, 2)
    assert is_deeper_than({"a": [{"b": {}}]}, 2)


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ({"endpoint_url": "a", "region_name": "b"}, {"endpoint_url": "a"}),
        ({"config": {"s3": {"baseUrl": "a", "x": 1}}}, {"config": {"s3": {"baseUrl": "a"}}}),
        ({"hosts": [{"a": 1}, 2]}, {"hosts": [{"a": 1}, 2]}),
        ({"token_uri": "a", "security": "b", "report": "c", "port": 1}, {"token_uri": "a", "port": 1}),
        ({"sslmode": "require", "timeout": 3, "host": None}, {}),
        ({"many": [{"server": "a"}, {"b": 1}]}, {"many": [{"server": "a"}, {}]}),
        ("text", None),
    ],
)
def test_places_of_an_extra_say_where_its_secrets_go(extra: Any, place: Any) -> None:
    assert places(extra) == place


def test_without_secrets_the_rest_stays() -> None:
    extra = {"a": 1, "token": "x", "inner": [{"password": "y", "b": 2}]}
    assert without_secrets(extra) == {"a": 1, "inner": [{"b": 2}]}


def test_only_a_mask_under_a_sensitive_name_stands_for_a_secret() -> None:
    assert stands_for_secrets({"inner": [{"token": "***"}]})
    assert not stands_for_secrets({"note": "***", "token": "new"})


class TestTexts:
    """Values of variables: any text, often JSON."""

    @pytest.mark.parametrize(
        ("key", "text", "shown"),
        [
            ("region", "eu", "eu"),
            ("api_token", "hunter2", "***"),
            ("my-api-key", "hunter2", "***"),
            ("api_token", "", ""),
            ("api_token", '{"a": 1}', "***"),
            ("settings", '{"a": 1,  "b": [2]}', '{"a": 1,  "b": [2]}'),
            ("settings", '{"a": {"password": "hunter2"}}', '{"a": {"password": "***"}}'),
            ("settings", '[{"token": "hunter2"}]', '[{"token": "***"}]'),
            ("settings", '{"token": "hunter2"', '{"token": "hunter2"'),
            ("settings", '{"a":' * 40 + '{"token": "hunter2"}' + "}" * 40, "***"),
            ("number", "12", "12"),
        ],
    )
    def test_what_is_shown(self, key: str, text: str, shown: str) -> None:
        assert masked_text(text, key) == shown

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            ("region", "eu"),
            ("api_token", "hunter2"),
            ("settings", '{"a": {"password": "hunter2"}}'),
            ("settings", '[{"token": "hunter2"}]'),
            ("settings", '{"a":' * 40 + "1" + "}" * 40),
        ],
    )
    def test_what_was_shown_stands_for_what_is_stored(self, key: str, text: str) -> None:
        assert unmasked_text(masked_text(text, key), text, key) == text

    def test_another_text_takes_its_place(self) -> None:
        assert unmasked_text("new", "hunter2", "api_token") == "new"
        assert unmasked_text("***", "old", "region") == "***"

    @pytest.mark.parametrize(
        ("key", "text", "stored"),
        [("api_token", "***", None), ("settings", '{"token": "***"}', None), ("settings", '{"token": "***"}', "eu")],
    )
    def test_stars_that_stand_for_nothing_are_refused(self, key: str, text: str, stored: str | None) -> None:
        with pytest.raises(ValueError, match="send the secret itself"):
            unmasked_text(text, stored, key)
