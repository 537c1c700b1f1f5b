"""The embedded corpus: its plan, its files, and the sounds themselves."""

import errno
import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from cache.errors import CorpusError, InputError
from corpus import recording, synth
from corpus.classes import CLASS_COUNTS, FSDKAGGLE2018_CLASSES
from corpus.instruments import CLARINET, TRUMPET, VIOLIN, plucked, sustained_note
from corpus.percussion import BAR_RATIOS, glockenspiel, struck, telephone
from corpus.recording import record
from corpus.synth import CONFUSABLE, plan_corpus, write_corpus
from corpus.voices import VOICES, render
from corpus.waves import FRAME, Studio, bend, modes, partials, place, resonances, shaped, silence, times, turns

RATE_HZ = 22050
SMALLEST = 82


@pytest.fixture
def studio() -> Studio:
    return Studio(np.random.default_rng(7), RATE_HZ)


def spectrum(wave: np.ndarray, rate_hz: int = RATE_HZ) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies and magnitudes, Hann window."""
    return np.fft.rfftfreq(len(wave), 1 / rate_hz), np.abs(np.fft.rfft(wave * np.hanning(len(wave))))


def level_at(wave: np.ndarray, frequency_hz: float) -> float:
    """Return the largest magnitude within a semitone of a frequency."""
    frequency, magnitude = spectrum(wave)
    near = np.abs(np.log2(np.maximum(frequency, 1) / frequency_hz)) < 1 / 12
    return float(magnitude[near].max())


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synth") / "corpus"
    write_corpus(root, clips=SMALLEST, seed=3)
    return root


# Building blocks


def test_partials_stand_at_multiples_of_the_fundamental(studio: Studio) -> None:
    n_samples = RATE_HZ
    wave = partials(studio, turns(studio, np.full(n_samples, 300.0)), 300.0, [1.0, 0.0, 0.5])
    assert level_at(wave, 900) / level_at(wave, 300) == pytest.approx(0.5, rel=0.02)
    assert level_at(wave, 600) < 0.01 * level_at(wave, 300)


def test_partials_above_half_the_sample_rate_are_left_out(studio: Studio) -> None:
    wave = partials(studio, turns(studio, np.full(RATE_HZ, 4000.0)), 4000.0, np.ones(8))
    frequency, magnitude = spectrum(wave)
    aliased = (np.abs(frequency - 4000) > 50) & (np.abs(frequency - 8000) > 50)
    assert magnitude[aliased].max() < 0.02 * magnitude.max()


def test_modes_equal_the_plain_sum_of_decaying_sines(studio: Studio) -> None:
    frequency, level, t60 = np.array([220.0, 1234.5]), np.array([1.0, 0.3]), np.array([0.4, 0.2])
    wave = modes(Studio(np.random.default_rng(1), RATE_HZ), 0.3, frequency, level, t60)
    phase = 2 * np.pi * np.random.default_rng(1).random(2)
    time = np.arange(len(wave))[:, None] / RATE_HZ
    plain = (level * 10 ** (-3 * time / t60) * np.cos(2 * np.pi * frequency * time + phase)).sum(1)
    np.testing.assert_allclose(wave, plain, atol=1e-4)


def test_modes_above_half_the_sample_rate_are_silent(studio: Studio) -> None:
    assert not modes(studio, 0.1, [RATE_HZ / 2 + 1.0], 1.0, 1.0).any()


def test_shaped_noise_keeps_to_its_band(studio: Studio) -> None:
    frequency, magnitude = spectrum(shaped(studio, studio.noise(RATE_HZ), 1000, 2000, 0.1))
    inside = (frequency > 900) & (frequency < 2200)
    assert (magnitude[inside] ** 2).sum() > 0.9 * (magnitude**2).sum()


def test_resonances_follow_their_track(studio: Studio) -> None:
    wave = resonances(studio, studio.noise(RATE_HZ), [[500, 4000]], width_octaves=0.2)
    centres = [np.average(spectrum(part)[0], weights=spectrum(part)[1] ** 2) for part in (wave[:2000], wave[-2000:])]
    assert centres[0] < 900
    assert centres[1] > 2500


@pytest.mark.parametrize("n_samples", [1, FRAME // 2 - 1, FRAME, 3 * FRAME + 5])
def test_resonances_keep_length_and_pass_a_flat_filter_unchanged(studio: Studio, n_samples: int) -> None:
    wave = studio.noise(n_samples)
    flat = resonances(studio, wave, [[1000]], width_octaves=1e6, floor=0.0)
    np.testing.assert_allclose(flat, wave, atol=1e-4)


def test_place_cuts_what_reaches_beyond_the_canvas(studio: Studio) -> None:
    canvas = silence(studio, 1.0)
    place(studio, canvas, np.ones(RATE_HZ, np.float32), 0.75, 0.5)
    place(studio, canvas, np.ones(9, np.float32), 5.0)
    assert canvas.sum() == pytest.approx(0.5 * (RATE_HZ - round(0.75 * RATE_HZ)))


def test_bend_goes_straight_through_its_points() -> None:
    np.testing.assert_allclose(bend(5, [0, 1, 0]), [0, 0.5, 1, 0.5, 0])


def test_times_keep_their_gap_and_their_limit(studio: Studio) -> None:
    even = np.diff(times(studio, 10.0, 0.25, 0.0))
    np.testing.assert_allclose(even, 0.25)
    assert len(times(studio, 10.0, 0.25, at_most=3)) == 3
    assert len(times(studio, 0.01, 9.0)) == 1


# Voices


@pytest.mark.parametrize("tone", [VIOLIN, CLARINET, TRUMPET])
def test_a_sustained_note_has_its_pitch(studio: Studio, tone: object) -> None:
    wave = sustained_note(studio, tone, tone.spectrum(studio), 440.0, 1.0)  # type: ignore[attr-defined, arg-type]
    for between in (311.0, 587.0):
        assert level_at(wave, between) < 0.2 * level_at(wave, 440.0)


def test_a_plucked_string_has_its_pitch_and_dies_away(studio: Studio) -> None:
    wave = plucked(studio, 196.0, 1.0, 1.0, 1.0)
    frequency, magnitude = spectrum(wave)
    strongest = frequency[magnitude.argmax()] / 196.0
    assert strongest == pytest.approx(round(strongest), abs=0.03)
    assert np.abs(wave[-2000:]).max() < 0.05 * np.abs(wave[:2000]).max()


def test_a_clarinet_has_odd_partials_only(studio: Studio) -> None:
    wave = sustained_note(studio, CLARINET, CLARINET.spectrum(studio), 300.0, 1.0)
    assert level_at(wave, 600) < 0.2 * min(level_at(wave, 300), level_at(wave, 900))


def test_a_violin_trembles_in_pitch_and_a_clarinet_does_not(studio: Studio) -> None:
    def spread_hz(tone: object) -> float:
        wave = sustained_note(studio, tone, np.array([1.0]), 1000.0, 2.0)  # type: ignore[arg-type]
        steady = wave[RATE_HZ // 2 : -RATE_HZ // 2]
        crossings = np.flatnonzero((steady[:-1] < 0) & (steady[1:] >= 0))
        return float(np.std(RATE_HZ * 20 / (crossings[20:] - crossings[:-20])))

    cent_hz = 1000 * np.log(2) / 1200
    assert 35 * cent_hz / 1.6 < spread_hz(VIOLIN) < 70 * cent_hz / 1.2
    assert spread_hz(CLARINET) < 4 * cent_hz


def test_a_struck_bar_rings_at_the_modes_of_a_free_bar(studio: Studio) -> None:
    wave = struck(studio, 0.5, 800.0, BAR_RATIOS, 1.0, 0.3)
    frequency, magnitude = spectrum(wave)
    for ratio in (1.0, 2.756, 5.404):  # Fletcher and Rossing
        near = np.abs(frequency / (800 * ratio) - 1) < 0.3
        assert frequency[near][magnitude[near].argmax()] == pytest.approx(800 * ratio, rel=0.01)


def test_a_telephone_has_more_than_one_kind() -> None:
    waves = [telephone(Studio(np.random.default_rng(seed), RATE_HZ), 1.0) for seed in range(8)]
    crests = [float(np.abs(wave).max() / np.sqrt(np.mean(wave**2))) for wave in waves]
    assert max(crests) > 1.5 * min(crests)


def test_voices_are_the_classes_of_the_competition() -> None:
    assert tuple(sorted(VOICES)) == FSDKAGGLE2018_CLASSES


@pytest.mark.parametrize("label", FSDKAGGLE2018_CLASSES)
def test_every_voice_fills_any_length_with_sound(label: str) -> None:
    for seed, seconds in enumerate((0.12, 0.7, 2.5)):
        wave = VOICES[label][0](Studio(np.random.default_rng(seed), RATE_HZ), seconds)
        assert wave.dtype == np.float32
        assert len(wave) == round(seconds * RATE_HZ)
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() > 1e-3


@pytest.mark.parametrize("label", FSDKAGGLE2018_CLASSES)
def test_every_class_renders_a_clip_of_its_own_seed(label: str) -> None:
    first, again, other = (render(label, np.random.default_rng(seed), sample_rate_hz=RATE_HZ) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    for wave in (first, other):
        assert wave.dtype == np.float32
        assert len(wave) / RATE_HZ + 1e-3 >= 0.3
        assert len(wave) / RATE_HZ <= 30.0 + 1e-3
        assert np.isfinite(wave).all()
        assert 0.01 < np.abs(wave).max() <= 1


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(InputError, match=re.escape("'Hi-Hat'")):
        render("Hi-Hat", np.random.default_rng(0))


def test_pitch_does_not_depend_on_the_sample_rate() -> None:
    peaks = []
    for rate_hz in (22050, 44100):
        wave = glockenspiel(Studio(np.random.default_rng(11), rate_hz), 0.4)
        frequency, magnitude = spectrum(wave, rate_hz)
        peaks.append(frequency[magnitude.argmax()])
    assert peaks[0] == pytest.approx(peaks[1], rel=0.02)


def test_a_recording_adds_silence_and_background_and_a_level(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "SNR_DB", (20.0, 20.0))
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    wave = record(studio, tone, before_seconds=0.5, after_seconds=0.25)
    assert len(wave) == round(0.5 * RATE_HZ) + RATE_HZ + round(0.25 * RATE_HZ)
    assert np.std(wave[: RATE_HZ // 3]) / np.std(wave[RATE_HZ // 2 : RATE_HZ]) == pytest.approx(0.1, rel=0.3)
    assert np.abs(wave).max() <= 1


# The plan


def test_shares_are_the_published_ones() -> None:
    plan = plan_corpus(clips=9473, seed=1)
    for label, published in CLASS_COUNTS.items():
        train = plan[(plan["label"] == label) & (plan["split"] == "train")]
        assert len(train) == published.train
        assert train["manually_verified"].sum() == published.verified
        assert ((plan["label"] == label) & (plan["split"] == "test")).sum() == published.test


def test_a_third_of_the_unverified_labels_are_wrong_and_no_other() -> None:
    plan = plan_corpus(clips=9473, seed=1)
    wrong = plan["label"] != plan["heard"]
    unverified = (plan["split"] == "train") & ~plan["manually_verified"]
    assert not wrong[~unverified].any()
    assert 0.30 <= wrong[unverified].mean() <= 0.35
    near = [
        any({label, heard} <= set(group) for group in CONFUSABLE)
        for label, heard in plan.loc[wrong, ["label", "heard"]].values
    ]
    assert 0.6 < np.mean(near) < 0.9


def test_a_fifth_of_the_test_clips_are_public() -> None:
    usage = Counter(plan_corpus(clips=9473)["usage"].dropna())
    assert usage["Public"] / usage.total() == pytest.approx(0.19, abs=0.005)
    assert set(usage) == {"Public", "Private"}


@pytest.mark.parametrize("clips", [82, 83, 100, 650, 1500])
def test_a_small_plan_has_every_class_in_both_halves(clips: int) -> None:
    plan = plan_corpus(clips=clips, seed=2)
    train, test = plan[plan["split"] == "train"], plan[plan["split"] == "test"]
    assert len(train) == clips
    assert len(test) == max(41, round(clips * 1600 / 9473))
    assert train["label"].value_counts().reindex(FSDKAGGLE2018_CLASSES).min() >= 2
    assert train[train["manually_verified"]]["label"].nunique() == 41
    assert test["label"].nunique() == 41
    assert plan["fname"].is_unique
    assert plan["freesound_id"].is_unique


@pytest.mark.parametrize(("clips", "seed", "said"), [(81, 0, "82"), (0, 0, "not 0"), (200, -1, "-1")])
def test_a_plan_out_of_range_is_refused(clips: int, seed: int, said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        plan_corpus(clips=clips, seed=seed)


def test_groups_of_confusable_classes_spell_them_right() -> None:
    assert {label for group in CONFUSABLE for label in group} == set(FSDKAGGLE2018_CLASSES)


# The files


def test_layout_and_columns_are_the_published_ones(corpus: Path) -> None:
    train = pd.read_csv(corpus / "FSDKaggle2018.meta" / "train_post_competition.csv")
    test = pd.read_csv(corpus / "FSDKaggle2018.meta" / "test_post_competition_scoring_clips.csv")
    assert list(train) == ["fname", "label", "manually_verified", "freesound_id", "license"]
    assert list(test) == ["fname", "label", "usage", "freesound_id", "license"]
    assert set(train["manually_verified"]) == {0, 1}
    assert {path.name for path in (corpus / "FSDKaggle2018.audio_train").iterdir()} == set(train["fname"])
    assert {path.name for path in (corpus / "FSDKaggle2018.audio_test").iterdir()} == set(test["fname"])
    assert pd.concat([train, test])["fname"].str.fullmatch(r"[0-9a-f]{8}\.wav").all()


def test_files_are_mono_16_bit_at_44100_hz(corpus: Path) -> None:
    for path in corpus.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 44100, 1)
        assert 0.299 <= info.duration <= 30.001


def test_truth_lies_beside_the_labels(corpus: Path) -> None:
    truth = pd.read_csv(corpus / "FSDKaggle2018.doc" / "truth.csv")
    plan = plan_corpus(clips=SMALLEST, seed=3)
    assert dict(zip(truth["fname"], truth["heard"], strict=True)) == dict(
        zip(plan["fname"], plan["heard"], strict=True)
    )
    assert json.loads((corpus / "FSDKaggle2018.doc" / "synth.json").read_text())["clips"] == SMALLEST


def test_bytes_do_not_depend_on_jobs(corpus: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "again", clips=SMALLEST, seed=3, jobs=2)
    assert files_below(tmp_path / "again") == files_below(corpus)


def test_another_seed_gives_other_sounds(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = (0, "Bark", tmp_path / "a.wav")
    synth._write_clip(task, seed=3)
    first = task[2].read_bytes()
    synth._write_clip(task, seed=4)
    assert task[2].read_bytes() != first
    synth._write_clip((1, "Bark", task[2]), seed=3)
    assert task[2].read_bytes() != first
    assert not set(plan_corpus(clips=SMALLEST, seed=4)["fname"]) & set(plan_corpus(clips=SMALLEST, seed=3)["fname"])


def test_the_same_settings_again_keep_the_corpus(corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    calls: list[tuple[int, int]] = []
    write_corpus(corpus, clips=SMALLEST, seed=3, progress=lambda done, total: calls.append((done, total)))
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    assert calls == [(SMALLEST + 41, SMALLEST + 41)]


def test_other_settings_are_refused(corpus: Path) -> None:
    with pytest.raises(CorpusError, match="other settings"):
        write_corpus(corpus, clips=SMALLEST, seed=4)


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CorpusError, match="something else"):
        write_corpus(tmp_path, clips=SMALLEST)
    assert files_below(tmp_path) == {"thesis.txt": b"mine"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CorpusError, match="something else"):
        write_corpus(tmp_path / "file", clips=SMALLEST)


def test_jobs_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not 0"):
        write_corpus(tmp_path / "corpus", clips=SMALLEST, jobs=0)


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert 0 < done < total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path / "corpus", clips=SMALLEST, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        synth._write_clip((0, "Bark", Path("/dev/full")), seed=0)
    assert caught.value.errno == errno.ENOSPC


def test_the_folder_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "_write_clip", lambda task, **_: task[2].touch())
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write_corpus(Path(), clips=SMALLEST, seed=1)
    assert tmp_path.stat().st_ino == before
    assert len(os.listdir(".")) == 4


def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "_write_clip", lambda task, **_: task[2].touch())
    write_corpus(tmp_path, clips=SMALLEST, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"FSDKaggle2018.{part}" for part in ("audio_test", "audio_train", "doc", "meta")
    ]
