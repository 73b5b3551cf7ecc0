"""What is read of the UI's folder, and what of it is refused at the start."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from leoflowd.api.static import IMMUTABLE, REVALIDATE, UiFilesBroken, load_site
from leoflowd.config import ApiConfig

INDEX = '<base href="{{ backend_server_base_url }}" /><script src="./static/assets/index-abc.js"></script>'


@pytest.fixture
def ui_dir(tmp_path: Path) -> Path:
    assets = tmp_path / "main" / "assets"
    assets.mkdir(parents=True)
    (tmp_path / "login").mkdir()
    (tmp_path / "main" / "index.html").write_text(INDEX)
    (assets / "index-abc.js").write_text("1")
    (assets / "sql.wasm").write_bytes(b"\0asm")
    (tmp_path / "main" / "i18n.json").write_text("{}")
    return tmp_path


def site_of(ui_dir: Path, base_path: str = "/"):  # type: ignore[no-untyped-def]
    return load_site(ApiConfig(ui_dir=ui_dir, base_path=base_path))


def test_the_base_path_is_filled_in(ui_dir: Path) -> None:
    assert '<base href="/leo/" />' in site_of(ui_dir, "/leo/").index


@pytest.mark.parametrize("index", [INDEX.replace("{{", "["), INDEX + "{{ backend_server_base_url }}"])
def test_an_index_without_exactly_one_placeholder_is_refused(ui_dir: Path, index: str) -> None:
    (ui_dir / "main" / "index.html").write_text(index)
    with pytest.raises(UiFilesBroken, match="exactly once"):
        site_of(ui_dir)


def test_an_index_whose_script_is_missing_is_refused(ui_dir: Path) -> None:
    (ui_dir / "main" / "assets" / "index-abc.js").unlink()
    with pytest.raises(UiFilesBroken, match="names no script that is there"):
        site_of(ui_dir)


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UiFilesBroken, match="leoflow setup"):
        site_of(tmp_path / "none")


def test_hashed_files_are_kept_for_ever_and_others_asked_for_again(ui_dir: Path) -> None:
    files = site_of(ui_dir).files
    assert files["static/assets/index-abc.js"].cache_control == IMMUTABLE
    assert files["static/i18n.json"].cache_control == REVALIDATE
    assert files["leoflow/static/leoflow.css"].cache_control == REVALIDATE


def test_media_types_do_not_depend_on_the_system(ui_dir: Path) -> None:
    files = site_of(ui_dir).files
    assert files["static/assets/index-abc.js"].media_type.startswith("text/javascript")
    assert files["static/assets/sql.wasm"].media_type == "application/wasm"


def test_a_packed_copy_is_what_is_kept(ui_dir: Path) -> None:
    (ui_dir / "main" / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(b"1"))
    stored = site_of(ui_dir).files["static/assets/index-abc.js"]
    assert stored.is_packed
    assert gzip.decompress(stored.content) == b"1"


def test_without_a_ui_build_our_own_pages_remain() -> None:
    site = load_site(ApiConfig())
    assert site.index is None
    assert {"login", "tree", "explain", "pool"} <= set(site.pages)
