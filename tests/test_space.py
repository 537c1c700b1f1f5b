"""Room on the disk."""

from pathlib import Path

import pytest

from cache import free_space, require_space
from cache.errors import NoSpaceError


def test_free_space_is_asked_of_the_nearest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_space(tmp_path / "not" / "yet" / "there") > 0
    monkeypatch.chdir(tmp_path)
    assert free_space("features") > 0


def test_too_little_space_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.space.free_space", lambda _: 2_500_000)
    require_space(tmp_path, 2_500_000)
    with pytest.raises(NoSpaceError, match=r"store needs 1,234.5 MB, but only 2.5 MB are free: make room") as caught:
        require_space(tmp_path / "store", 1_234_500_000)
    assert caught.value.exit_code == 6
