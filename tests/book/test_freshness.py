"""A change in the library or in a record makes the chapters run again; nothing else does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import freshness


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "rnnlib/cells.py": "one",
        "rnnlib/widgets/wall.js": "two",
        "book/records/a-reduced.json": "{}",
        "book/01.md": "text",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(freshness.digest, "__defaults__", (tmp_path,))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["rnnlib/cells.py", "rnnlib/widgets/wall.js", "book/records/a-reduced.json"]
)
def test_what_a_chapter_rests_on_changes_the_digest(tree: Path, name: str) -> None:
    before = freshness.digest()
    (tree / name).write_text("other")
    assert freshness.digest() != before


def test_a_new_record_and_another_scale_change_the_digest(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [freshness.digest()]
    (tree / "book/records/b-paper.json").write_text("{}")
    digests.append(freshness.digest())
    monkeypatch.setenv("RNNLIB_SCALE", "smoke")
    digests.append(freshness.digest())
    assert len(set(digests)) == 3


def test_prose_does_not_change_the_digest(tree: Path) -> None:
    before = freshness.digest()
    (tree / "book/01.md").write_text("better text")
    assert freshness.digest() == before


def test_a_stale_cache_is_emptied_and_a_fresh_one_kept(tree: Path) -> None:
    cache = tree / "cache"
    config = SimpleNamespace(nb_execution_cache_path=str(cache))
    freshness.empty_stale_cache(None, config)  # type: ignore[arg-type]
    (cache / "executed").write_text("numbers")
    freshness.empty_stale_cache(None, config)  # type: ignore[arg-type]
    assert (cache / "executed").exists()
    (tree / "rnnlib/cells.py").write_text("other")
    freshness.empty_stale_cache(None, config)  # type: ignore[arg-type]
    assert not (cache / "executed").exists()


def test_pages_are_read_again_after_a_change(tree: Path) -> None:
    env = SimpleNamespace(found_docs={"book/b", "book/a"})
    ask = lambda: freshness.outdated_pages(None, env, set(), set(), set())  # type: ignore[arg-type]  # noqa: E731
    assert ask() == ["book/a", "book/b"]
    assert ask() == []
    (tree / "rnnlib/cells.py").write_text("other")
    assert ask() == ["book/a", "book/b"]
