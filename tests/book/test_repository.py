"""The address of the repository comes from one place, and the environment overrides it."""

from __future__ import annotations

import pytest

import repository

VARIABLES = (
    "BOOK_REPOSITORY_URL",
    "GITHUB_REPOSITORY",
    "GITHUB_SERVER_URL",
    "BOOK_REVISION",
    "BOOK_NOTEBOOK_BRANCH",
)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def write(folder, monkeypatch: pytest.MonkeyPatch, urls: str) -> None:
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\n[project.urls]\n{urls}\n')
    monkeypatch.setattr(repository, "ROOT", folder)


def test_nowhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, monkeypatch, "")
    assert repository.address() == ""


def test_the_file_then_the_workflow_then_the_reader(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, 'Repository = "https://github.com/one/book.git"')
    assert repository.address() == "https://github.com/one/book"
    monkeypatch.setenv("GITHUB_REPOSITORY", "two/fork")
    assert repository.address() == "https://github.com/two/fork"
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "https://example.org/three/")
    assert repository.address() == "https://example.org/three"


def test_revision_and_branch_default_to_main(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (repository.revision(), repository.branch()) == ("main", "main")
    monkeypatch.setenv("BOOK_REVISION", "v1")
    monkeypatch.setenv("BOOK_NOTEBOOK_BRANCH", "notebooks")
    assert (repository.revision(), repository.branch()) == ("v1", "notebooks")
