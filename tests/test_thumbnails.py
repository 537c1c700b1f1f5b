"""Thumbnails: what a band and a frame become, and that they are made once."""

import io

import numpy as np
import pytest
from PIL import Image
from stores import HEAD, frames_of, write_store

from infer import thumbnails
from infer.thumbnails import MAX_COLUMNS, Thumbnails, draw_thumbnail


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.int64)


def test_a_band_is_a_row_with_the_highest_on_top():
    frames = np.full((40, 16), -80.0)
    frames[:, 12:] = 0
    grey = pixels(draw_thumbnail(frames))
    assert grey.shape == (16, 40)
    assert grey[:3].min() > 180 > 60 > grey[6:].max()


def test_a_long_clip_keeps_its_short_sounds():
    frames = np.full((10 * MAX_COLUMNS, 8), -80.0)
    frames[3333] = 0
    grey = pixels(draw_thumbnail(frames))
    assert grey.shape == (8, MAX_COLUMNS)
    assert grey[:, 333].min() > 150


def test_silence_is_dark():
    assert pixels(draw_thumbnail(np.full((20, 8), -80.0))).max() < 20


@pytest.fixture
def reader(tmp_path):
    return write_store(tmp_path / "store", HEAD, {name: frames_of(name, "Bark") for name in ("a", "b")})


def test_they_are_made_once(tmp_path, reader, monkeypatch):
    first = Thumbnails(tmp_path / "kept").get(reader, 1)
    monkeypatch.setattr(thumbnails, "draw_thumbnail", lambda _frames: pytest.fail("drawn again"))
    assert Thumbnails(tmp_path / "kept").get(reader, 1) == first


def test_a_damaged_one_is_drawn_anew(tmp_path, reader):
    first = Thumbnails(tmp_path / "kept").get(reader, 0)
    (path,) = (tmp_path / "kept").rglob("*.webp")
    path.write_bytes(b"")
    assert Thumbnails(tmp_path / "kept").get(reader, 0) == first
    assert path.read_bytes() == first


def test_where_nothing_can_be_kept_they_are_drawn_all_the_same(tmp_path, reader):
    (tmp_path / "kept").write_text("a file in the folder's place")
    assert Thumbnails(tmp_path / "kept").get(reader, 0)
