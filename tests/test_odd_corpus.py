"""A corpus of broken, odd and exotic audio, from one end to the other."""

from pathlib import Path

import numpy as np
import soundfile
from sounds import int16_bytes, sine, wav_bytes
from test_cli import run, run_json

from cache import open_store

N = 22_050
TONE = sine(N, 440.0)


def good_files(folder: Path) -> set[str]:
    """Files that must be featurized, however odd."""
    for name, subtype in {
        "8bit.wav": "PCM_U8", "16bit.wav": "PCM_16", "24bit.wav": "PCM_24", "32bit.wav": "PCM_32",
        "float.wav": "FLOAT", "double.wav": "DOUBLE", "alaw.wav": "ALAW", "ulaw.wav": "ULAW", "adpcm.wav": "IMA_ADPCM",
    }.items():  # fmt: skip
        soundfile.write(folder / name, TONE, 44_100, subtype=subtype)
    soundfile.write(folder / "stereo.wav", np.stack([TONE, -0.5 * TONE], axis=1), 44_100)
    soundfile.write(folder / "surround.wav", np.stack([TONE] * 6, axis=1), 44_100)
    for rate_hz in (8_000, 96_000, 192_000):
        soundfile.write(folder / f"{rate_hz}.wav", TONE, rate_hz)
    for suffix in ("flac", "ogg", "mp3", "aiff", "au"):
        soundfile.write(folder / f"other.{suffix}", TONE, 44_100)
    soundfile.write(folder / "silence.wav", np.zeros(N), 44_100)
    soundfile.write(folder / "one sample.wav", np.array([0.5]), 44_100)
    soundfile.write(folder / "clipped.wav", np.sign(TONE) * 0.99997, 44_100)
    (folder / "streamed.wav").write_bytes(wav_bytes(int16_bytes(N), stated=0xFFFFFFFF))
    soundfile.write(folder / "naïve 'quotes', and,commas.wav", TONE, 44_100)
    return {path.name for path in folder.iterdir()}


BROKEN = {
    "empty.wav": (b"", "empty"),
    "header only.wav": (wav_bytes(b""), "holds no samples"),
    "cut.wav": (wav_bytes(int16_bytes(N))[:-9_000], "is cut short"),
    "text.wav": (b"This is no sound, it only has the name of one.\n", "cannot be decoded"),
    "random.wav": (bytes(range(256)) * 40, "cannot be decoded"),
}


def test_an_odd_corpus_ends_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "odd"
    folder.mkdir(parents=True)
    good = good_files(folder)
    for name, (content, _) in BROKEN.items():
        (folder / name).write_bytes(content)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan, 0.2]), 44_100, subtype="FLOAT")
    soundfile.write(folder / "infinite.wav", np.array([0.1, np.inf, 0.2]), 44_100, subtype="FLOAT")
    reasons = {name: reason for name, (_, reason) in BROKEN.items()} | dict.fromkeys(("nan.wav", "infinite.wav"), "NaN")

    report = run_json("featurize", "--jobs", 1)
    for name in ("lh", "x"):
        mode = report["modes"][name]
        assert (mode["clips"], mode["computed"]) == (len(good) + len(reasons), len(good))
        found = {row["fname"]: row["reason"] for row in mode["quarantined"]}
        assert set(found) == {f"odd/{broken}" for broken in reasons}
        assert [broken for broken, reason in reasons.items() if reason not in found[f"odd/{broken}"]] == []
        reader = open_store(mode["store"])
        assert set(reader.names) == {f"odd/{kept}" for kept in good}
        assert all(np.isfinite(frames).all() for frames in reader)

    again = run_json("featurize", "--jobs", 1)["modes"]["x"]
    assert (again["computed"], again["kept"], len(again["quarantined"])) == (0, len(good), len(reasons))
    run("featurize", "--jobs", 1, "--strict", exit_code=3)
