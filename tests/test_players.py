"""Sounds of a report: embedded while there is room, linked else, encoded anew where browsers do not play them."""

import io
import os
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from infer.players import Players, relative_link


def write(path, *, seconds=0.5, form="WAV", subtype=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(np.arange(int(seconds * 8000)) / 3), 8000, format=form, subtype=subtype)
    return str(path)


@pytest.mark.parametrize(
    ("name", "form", "mime"),
    [("a.wav", "WAV", "audio/wav"), ("a.FLAC", "FLAC", "audio/flac"), ("a.ogg", "OGG", "audio/ogg")],
)
def test_a_small_sound_that_browsers_play_is_embedded_as_it_is(tmp_path, name, form, mime):
    path = write(tmp_path / name, form=form)
    sound = Players(tmp_path, 1_000_000).get(path)
    assert sound.mime == mime
    with open(path, "rb") as file:
        assert sound.data == file.read()
    assert not sound.link


@pytest.mark.parametrize(
    ("name", "form", "subtype"),
    [("a.aiff", "AIFF", None), ("a.au", "AU", None), ("a.wav", "WAV", "ALAW"), ("b.wav", "WAV", "IMA_ADPCM")],
)
def test_others_become_flac(tmp_path, name, form, subtype):
    path = write(tmp_path / name, form=form, subtype=subtype)
    sound = Players(tmp_path, 1_000_000).get(path)
    assert (sound.mime, sound.link, sound.note) == ("audio/flac", "", "played as FLAC")
    samples, rate_hz = soundfile.read(io.BytesIO(sound.data))
    assert rate_hz == 8000
    np.testing.assert_allclose(samples, soundfile.read(path)[0], atol=1e-4)


def test_the_budget_is_kept_and_the_rest_is_linked(tmp_path):
    paths = [write(tmp_path / "in" / f"{i}.wav") for i in range(4)]
    players = Players(tmp_path / "out", 20_000)  # each has 8,044 bytes
    sounds = [players.get(path) for path in paths]
    assert [bool(sound.data) for sound in sounds] == [True, True, False, False]
    assert sounds[2].link == "../in/2.wav"


def test_a_long_sound_that_browsers_do_not_play_is_linked_with_a_word(tmp_path):
    sound = Players(tmp_path, 10**9).get(write(tmp_path / "a.aiff", seconds=121))
    assert sound.link == "a.aiff"
    assert sound.note == "browsers may not play this format"


@pytest.mark.parametrize(
    "name", ["javascript:alert(1).wav", "a b#?%.wav", "\"quo'te<>.wav", "größe\n.wav", "a\udce9.wav"]
)
def test_links_are_encoded(tmp_path, name):
    link = relative_link(str(tmp_path / name), tmp_path)
    assert link.isascii()
    assert not set(link) & set("<>\"'#? \n:")
    assert unquote(link, errors="surrogateescape") == name


def test_what_cannot_be_read_has_no_player(tmp_path):
    (tmp_path / "bad.aiff").write_bytes(b"no sound")
    players = Players(tmp_path, 10**6)
    assert players.get(str(tmp_path / "bad.aiff")) is None
    assert players.get(str(tmp_path / "gone.wav")) is None
    assert players.get(str(tmp_path / "gone.mp3")) is None


@pytest.mark.parametrize(("form", "subtype", "note"), [("WAV", None, ""), ("WAV", "ALAW", "played as FLAC")])
def test_a_name_need_not_be_utf_8(tmp_path, form, subtype, note):
    path = write(tmp_path / "plain.wav", form=form, subtype=subtype)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    os.rename(path, odd)
    sound = Players(tmp_path, 1_000_000).get(odd)
    assert sound is not None
    assert sound.data
    assert sound.note == note
