import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stores import CLASSES, HEAD, LONG, QUICK, make_clips, store_of

from cache import StoreReader
from cache.errors import CorpusError, InputError, IntegrityError
from featurize.modes import FeatureMode
from train.checkpoint import read_info, save_last
from train.loop import clear_fold, train_fold
from train.plan import RunPlan, RunRequest, check_begun, check_request, plan_run, training_targets
from train.prior import class_prior


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FeatureMode, StoreReader]]:
    folder = tmp_path_factory.mktemp("stores")
    return {mode.name: (mode, store_of(folder, make_clips(), mode)) for mode in (HEAD, LONG)}


@pytest.fixture
def clips() -> pd.DataFrame:
    return make_clips()


@pytest.fixture
def request_of(tmp_path: Path) -> Any:
    def make(**changes: Any) -> RunRequest:
        recipe = dataclasses.replace(QUICK, epochs=1, **changes.pop("recipe", {}))
        return RunRequest(folder=tmp_path / "runs" / "quick", recipe=recipe, n_folds=3, device="cpu", **changes)

    return make


def only(readers: Any, name: str = "head") -> dict[str, tuple[FeatureMode, StoreReader]]:
    return {name: readers[name]}


# --- jobs ----------------------------------------------------------------------------------------------------------


def test_a_run_has_a_job_for_each_mode_and_fold(readers, clips, request_of, tmp_path: Path) -> None:
    plan = plan_run(clips, readers, request_of())
    folders = [job.folder.relative_to(tmp_path / "runs").as_posix() for job in plan.jobs]
    assert folders == [f"quick/{mode}/fold-{fold}" for mode in ("head", "long") for fold in range(3)]
    assert plan.kept == []
    assert not (tmp_path / "runs").exists()
    held = np.array([job.held for job in plan.jobs[:3]])
    assert np.array_equal(held.sum(axis=0), np.ones(18))
    assert np.array_equal(held, [job.held for job in plan.jobs[3:]])  # modes are split alike


def test_labels_belong_to_the_readers_clips(readers, clips, request_of) -> None:
    shuffled = clips.sample(frac=1.0, random_state=3).reset_index(drop=True)
    job = plan_run(shuffled, only(readers), request_of()).jobs[0]
    label_of = dict(zip(clips["fname"], clips["label"], strict=True))
    verified_of = dict(zip(clips["fname"], clips["manually_verified"], strict=True))
    assert [CLASSES[label] for label in job.labels] == [label_of[name] for name in job.reader.names]
    assert job.scored.tolist() == [verified_of[name] for name in job.reader.names]
    assert job.settings["classes"] == list(CLASSES)


def test_clips_without_frames_are_left_out(readers, clips, request_of, tmp_path: Path) -> None:
    fewer = store_of(tmp_path / "fewer", clips.iloc[1:], HEAD)
    whole = plan_run(clips, only(readers), request_of()).jobs[0]
    job = plan_run(clips, {"head": (HEAD, fewer)}, request_of()).jobs[0]
    assert len(job.labels) == 17
    assert job.held.tolist() == whole.held[1:].tolist()
    assert job.settings["corpus"] != whole.settings["corpus"]


def test_every_clip_counts_where_none_is_verified(readers, clips, request_of) -> None:
    clips["manually_verified"] = pd.array([None] * len(clips), dtype="boolean")
    job = plan_run(clips, only(readers), request_of()).jobs[0]
    assert job.scored.all()
    assert job.prior == pytest.approx([1 / 3] * 3)


def test_groups_are_told_to_the_jobs_whose_recipe_balances_them(readers, clips, request_of) -> None:
    alone = plan_run(clips, only(readers), request_of(recipe={"balanced_groups": True})).jobs[0]
    assert alone.groups is None
    assert alone.balanced_groups is None
    groups = [row if row % 3 == 0 else row % 3 for row in range(len(clips))]  # Barks are of a recorder each
    clips["group"] = pd.array([f"recorder {group}" for group in groups], dtype="string")
    job = plan_run(clips, only(readers), request_of(recipe={"balanced_groups": True})).jobs[0]
    assert job.groups.tolist() == pd.factorize(np.array(groups))[0].tolist()
    assert job.balanced_groups is None  # as not all labels are verified
    clips["manually_verified"] = True
    job = plan_run(clips, only(readers), request_of(recipe={"balanced_groups": True})).jobs[0]
    assert job.balanced_groups.tolist() == job.groups[job.trained].tolist()
    assert plan_run(clips, only(readers), request_of()).jobs[0].balanced_groups is None
    counted = np.array([len(set(job.groups[~job.held & (job.labels == label)])) for label in range(3)])
    assert job.prior == pytest.approx((counted + 5) / (counted + 5).sum())
    counted = np.bincount(alone.labels[alone.scored & ~alone.held])
    assert alone.prior == pytest.approx((counted + 5) / (counted + 5).sum())


def test_a_run_whose_draws_were_balanced_otherwise_is_refused(readers, clips, request_of) -> None:
    balanced = {"balanced_groups": True}
    clips["fold"] = pd.array([row % 3 for row in range(len(clips))], dtype="Int64")
    train_fold(plan_run(clips, only(readers), request_of(folds=[0], recipe=balanced)).jobs[0])
    clips["group"] = pd.array([f"recorder {row % 6}" for row in range(len(clips))], dtype="string")
    with pytest.raises(InputError, match=r"other settings \(corpus's groups None → \w{16}\)"):
        plan_run(clips, only(readers), request_of(folds=[0], recipe=balanced))
    assert plan_run(clips, only(readers), request_of(folds=[0], recipe=balanced, force=True)).jobs


def test_groups_are_no_matter_to_a_recipe_that_does_not_balance_them(readers, clips, request_of) -> None:
    clips["fold"] = pd.array([row % 3 for row in range(len(clips))], dtype="Int64")
    train_fold(plan_run(clips, only(readers), request_of(folds=[0])).jobs[0])
    path = next(request_of().folder.glob("*/*/model.json"))
    info = json.loads(path.read_text())
    del info["groups"], info["recipe"]["balanced_groups"]  # as an earlier version wrote it
    path.write_text(json.dumps(info))
    assert plan_run(clips, only(readers), request_of(folds=[0], recipe={"balanced_groups": True})).kept
    clips["group"] = pd.array([f"recorder {row % 6}" for row in range(len(clips))], dtype="string")
    assert plan_run(clips, only(readers), request_of(folds=[0])).kept
    with pytest.raises(InputError, match="groups"):
        plan_run(clips, only(readers), request_of(folds=[0], recipe={"balanced_groups": True}))


def test_the_prior_is_that_of_the_verified_clips() -> None:
    labels, verified = np.array([0, 0, 1, 1, 1, 2]), np.array([True, True, True, True, False, False])
    assert class_prior(labels, verified, 4) == pytest.approx(np.array([7, 7, 5, 5]) / 24)
    assert class_prior(labels, ~verified & False, 3) == pytest.approx(np.array([7, 8, 6]) / 21)


def test_labels_of_held_clips_do_not_move_the_prior(readers, clips, request_of) -> None:
    clips["fold"] = pd.array([row // 6 for row in range(len(clips))], dtype="Int64")
    before = plan_run(clips, only(readers), request_of()).jobs
    clips.loc[:4, "label"] = clips["label"][5]
    after = plan_run(clips, only(readers), request_of()).jobs
    assert after[0].prior == before[0].prior
    assert after[1].prior != before[1].prior


def test_the_prior_counts_recorders_where_they_are_known() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1, 1, 2]), np.array([4, 4, 4, 4, 5, 6, 4])
    verified = np.array([True, True, True, True, True, False, False])
    assert class_prior(labels, verified, 3, groups) == pytest.approx(np.array([6, 7, 5]) / 18)


def test_folds_that_are_asked_for(readers, clips, request_of) -> None:
    plan = plan_run(clips, only(readers), request_of(folds=[2, 0]))
    assert [job.settings["fold"] for job in plan.jobs] == [2, 0]
    for fold in (3, -1):
        with pytest.raises(InputError, match=f"--fold must be from 0 to 2, or all; got {fold}"):
            plan_run(clips, only(readers), request_of(folds=[fold]))


def test_clips_that_cannot_be_trained_on_are_refused(readers, clips, request_of) -> None:
    one_class = clips[clips["label"] == "Bark"]
    with pytest.raises(CorpusError, match=r"two classes or more; the corpus has \['Bark'\]"):
        plan_run(one_class, only(readers), request_of())
    with pytest.raises(InputError, match=r"must be in the clip table; '00-Bark\.wav' is not"):
        plan_run(clips.iloc[1:], only(readers), request_of())


def test_a_request_is_checked_before_there_are_frames(clips, request_of) -> None:
    check_request(clips, request_of())
    for wrong, kind, words in (
        (request_of(resume=True, force=True), InputError, "give --resume or --force, not both"),
        (request_of(folds=[3]), InputError, "--fold must be from 0 to 2"),
        (dataclasses.replace(request_of(), n_folds=99), InputError, "--folds must be from 2 to"),
    ):
        with pytest.raises(kind, match=words):
            check_request(clips, wrong)
    with pytest.raises(CorpusError, match="two classes or more"):
        check_request(clips[clips["label"] == "Bark"], request_of())


@pytest.mark.parametrize("name", ["fname", "label"])
def test_a_class_with_the_name_of_a_column_is_refused(readers, clips, request_of, name: str) -> None:
    clips["label"] = clips["label"].replace("Gong", name)
    with pytest.raises(CorpusError, match=f"no class can be named '{name}'.*; rename the class"):
        check_request(clips, request_of())
    with pytest.raises(CorpusError, match="rename the class"):
        plan_run(clips, only(readers), request_of())


def test_a_fold_whose_clips_all_lack_frames_is_refused(readers, clips, request_of, tmp_path: Path) -> None:
    clips["fold"] = pd.array([1 if number < 3 else 0 for number in range(len(clips))], dtype="Int64")
    reader = store_of(tmp_path / "fewer", clips.iloc[3:], HEAD)
    with pytest.raises(CorpusError, match="fold 0 leaves no clip"):
        plan_run(clips, {"head": (HEAD, reader)}, request_of())


# --- runs that are there already -----------------------------------------------------------------------------------


@pytest.fixture
def trained(readers, clips, request_of) -> RunPlan:
    plan = plan_run(clips, only(readers), request_of(folds=[0]))
    plan.kept.append(train_fold(plan.jobs[0]))
    return plan


def test_a_finished_fold_is_kept(readers, clips, request_of, trained: RunPlan) -> None:
    plan = plan_run(clips, only(readers), request_of())
    assert [job.settings["fold"] for job in plan.jobs] == [1, 2]
    assert plan.kept == [{**trained.kept[0], "kept": True}]
    assert plan_run(clips, only(readers), request_of(folds=[0], resume=True)).jobs == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 7}, "seed 42 → 7"),
        ({"recipe": {"learning_rate": 0.01}}, "recipe.learning_rate 0.001 → 0.01"),
        ({"recipe": {"name": "best"}}, "recipe.name quick → best"),
    ],
)
def test_other_settings_are_refused_in_words(readers, clips, request_of, trained, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match="fold-0 was trained with other settings") as caught:
        plan_run(clips, only(readers), request_of(**changes))
    assert words in str(caught.value)
    assert f"--run NAME, or train anew, with --force of cli train or by removing {request_of().folder}" in str(
        caught.value
    )


def test_settings_that_a_recipe_did_not_have_then_are_those_by_default(readers, clips, request_of, trained) -> None:
    path = next(request_of().folder.glob("*/*/model.json"))
    info = json.loads(path.read_text())
    for later in ("pretrained", "reverberate_probability"):
        del info["recipe"][later]
    path.write_text(json.dumps(info))
    assert plan_run(clips, only(readers), request_of()).kept
    with pytest.raises(InputError, match=r"\(recipe\.reverberate_probability 0\.0 → 0\.5\)"):
        plan_run(clips, only(readers), request_of(recipe={"reverberate_probability": 0.5}))


def test_a_run_of_the_first_front_end_is_refused_in_words(readers, clips, request_of, trained) -> None:
    for path in request_of().folder.glob("*/*/model.json"):
        info = json.loads(path.read_text())
        del info["mode"]["scale"]  # it was the mel scale, without saying so
        info["mode"]["front_end"] = 1
        path.write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"other settings \(mode\.front_end 1 → 2\): give another --run"):
        plan_run(clips, only(readers), request_of())


def test_other_clips_labels_and_classes_are_refused(readers, clips, request_of, trained) -> None:
    clips.loc[0, "label"] = "Gong"
    with pytest.raises(InputError, match=r"other settings \(corpus"):
        plan_run(clips, only(readers), request_of())
    clips.loc[0, "label"] = "Oboe"
    with pytest.raises(InputError, match="classes Bark, Flute, Gong → Bark, Flute, Gong, Oboe"):
        plan_run(clips, only(readers), request_of())


@pytest.mark.parametrize("stopped", [False, True])
def test_what_was_begun_otherwise_is_refused_without_frames(readers, clips, request_of, trained, stopped) -> None:
    modes = [readers["head"][0]]
    keys = {"head": readers["head"][1].keys}
    if stopped:
        for path in request_of().folder.glob("*/*/model.json"):
            path.unlink()
    check_begun(clips, modes, keys, request_of())
    check_begun(clips, modes, {}, request_of())
    with pytest.raises(InputError, match="seed 42 → 7"):
        check_begun(clips, modes, {}, request_of(seed=7))
    with pytest.raises(InputError, match=r"clips 18 → 17, corpus's clips, labels and folds"):
        check_begun(clips, modes, {"head": keys["head"][1:]}, request_of())
    clips.loc[[0, 1], "label"] = clips.loc[[1, 0], "label"].to_numpy()
    check_begun(clips, modes, {}, request_of())


def test_other_features_are_refused(readers, clips, request_of, trained, tmp_path: Path) -> None:
    mode = dataclasses.replace(HEAD, trim_db=30.0)
    reader = store_of(tmp_path / "other", clips, mode)
    with pytest.raises(InputError, match=r"mode\.trim_db 60\.0 → 30\.0"):
        plan_run(clips, {"head": (mode, reader)}, request_of())


def test_force_trains_anew(readers, clips, request_of, trained: RunPlan) -> None:
    folder = trained.jobs[0].folder
    plan = plan_run(clips, only(readers), request_of(folds=[0], force=True, seed=7))
    assert len(plan.jobs) == 1
    train_fold(plan.jobs[0])
    info = read_info(folder)
    assert info is not None
    assert info["seed"] == 7
    assert len(list(folder.glob("events.*"))) == 1


def test_planning_removes_nothing(readers, clips, request_of, trained: RunPlan) -> None:
    folder = trained.jobs[0].folder
    job = plan_run(clips, only(readers), request_of(folds=[0], force=True)).jobs[0]
    assert (job.fresh, job.stale_history) == (True, (folder / "history.csv").stat().st_mtime)
    with pytest.raises(InputError, match="--fold"):
        plan_run(clips, only(readers), request_of(folds=[0, 9], force=True))
    few = dataclasses.replace(HEAD, name="few")
    stranger = store_of(folder.parents[3] / "few", make_clips(7), few)
    with pytest.raises(InputError, match="clip table"):
        plan_run(clips, {**only(readers), "few": (few, stranger)}, request_of(force=True))
    assert read_info(folder) is not None


def test_a_stopped_fold_goes_on_or_starts_again_when_asked(readers, clips, request_of) -> None:
    stopped = plan_run(clips, only(readers), request_of(folds=[0], recipe={})).jobs[0]
    job = dataclasses.replace(stopped, recipe=dataclasses.replace(stopped.recipe, epochs=3), seconds_limit=1e-9)
    job.settings["recipe"] = job.recipe.to_dict()
    train_fold(job)

    def asked(**changes: Any) -> RunRequest:
        return dataclasses.replace(request_of(folds=[0], **changes), recipe=job.recipe)

    with pytest.raises(InputError, match=r"stopped after epoch 1 of 3: give --resume to go on, or --force"):
        plan_run(clips, only(readers), asked())
    with pytest.raises(InputError, match="seed 42 → 7"):
        plan_run(clips, only(readers), asked(resume=True, seed=7))
    resumed = plan_run(clips, only(readers), asked(resume=True))
    assert train_fold(resumed.jobs[0])["epochs"] == 3
    (job.folder / "model.json").unlink()  # killed between the last epoch and the model
    with pytest.raises(InputError, match="stopped after epoch 3 of 3"):
        plan_run(clips, only(readers), asked())
    assert len(plan_run(clips, only(readers), asked(resume=True)).jobs) == 1
    assert len(plan_run(clips, only(readers), asked(force=True)).jobs) == 1


def test_a_damaged_fold_is_refused_and_force_heals_it(readers, clips, request_of, trained: RunPlan) -> None:
    folder = trained.jobs[0].folder
    (folder / "model.json").write_text("{")
    with pytest.raises(IntegrityError, match="must be JSON"):
        plan_run(clips, only(readers), request_of(folds=[0]))
    assert len(plan_run(clips, only(readers), request_of(folds=[0], force=True)).jobs) == 1
    (folder / "model.json").unlink()
    save_last(folder, {"epoch": 1})
    with pytest.raises(IntegrityError, match="lacks a proper model, optimizer, average, seconds, waited, settings"):
        plan_run(clips, only(readers), request_of(folds=[0], resume=True))


def test_clearing_leaves_what_training_did_not_write(tmp_path: Path) -> None:
    folder = tmp_path / "fold-0"
    (folder / "last").mkdir(parents=True)
    for name in ("model.json", "events.out.tfevents.1.host", "last/state.pt", "notes.txt"):
        (folder / name).touch()
    clear_fold(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


# --- other labels to train on ----------------------------------------------------------------------------------------


def relabels_of(*rows: tuple[str, str | None, bool | None]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["fname", "label", "manually_verified"])
    return table.astype({"fname": "string", "label": "string", "manually_verified": "boolean"})


SOME = relabels_of(("00-Bark.wav", "Gong", None), ("01-Gong.wav", None, None), ("02-Bark.wav", "Bark", True))


def test_targets_of_training_follow_the_names_asked_for(clips) -> None:
    names = ["02-Bark.wav", "00-Bark.wav", "01-Gong.wav", "00-Gong.wav"]
    labels, verified = training_targets(clips, names, CLASSES, SOME)
    assert (labels.dtype, labels.tolist()) == (np.int64, [0, 2, -1, 2])
    assert verified.tolist() == [True, True, True, True]
    labels, verified = training_targets(clips, names, CLASSES)
    assert (labels.tolist(), verified.tolist()) == ([0, 0, 2, 2], [False, True, True, True])
    with pytest.raises(InputError, match=r"must be in the clip table; 'x\.wav' is not"):
        training_targets(clips, ["x.wav"], CLASSES)


def test_a_run_on_other_labels_is_another_run(readers, clips, request_of, trained) -> None:
    with pytest.raises(InputError, match=r"\(relabelled None → 1 clip with another label, 1 verified, 1 left out \("):
        plan_run(clips, only(readers), request_of(relabels=SOME))
    plan = plan_run(clips, only(readers), request_of(relabels=SOME.iloc[:0]))
    assert len(plan.kept) == 1
    same = relabels_of(("00-Bark.wav", "Bark", True), ("02-Bark.wav", "Bark", None))
    assert len(plan_run(clips, only(readers), request_of(relabels=same)).kept) == 1  # says what the corpus says


def test_relabelling_is_told_apart_whatever_the_order_of_its_rows(readers, clips, request_of) -> None:
    def told(relabels: pd.DataFrame) -> str:
        return str(plan_run(clips, only(readers), request_of(relabels=relabels)).jobs[0].settings["relabelled"])

    assert told(SOME) == told(SOME.iloc[::-1])
    other = relabels_of(("00-Bark.wav", "Flute", None), *SOME.iloc[1:].itertuples(index=False, name=None))
    assert told(other) != told(SOME)
    assert told(other).split(" (")[0] == told(SOME).split(" (")[0]


def test_relabelling_moves_no_fold_and_no_score(readers, clips, request_of) -> None:
    plain, other = (plan_run(clips, only(readers), request_of(relabels=relabels)).jobs for relabels in (None, SOME))
    for before, after in zip(plain, other, strict=True):
        for name in ("labels", "held", "scored", "prior"):
            assert np.array_equal(getattr(before, name), getattr(after, name)), name
        names = after.reader.names
        changed = [names[i] for i in np.flatnonzero(before.targets != after.targets)]
        assert sorted(changed) == ["00-Bark.wav", "01-Gong.wav"]
        assert [names[i] for i in np.flatnonzero(before.verified != after.verified)] == ["02-Bark.wav"]
        assert np.array_equal(before.targets, before.labels)


def test_a_fold_without_a_clip_to_train_on_is_refused(readers, clips, request_of) -> None:
    none = relabels_of(*((name, None, None) for name in clips["fname"]))
    with pytest.raises(CorpusError, match="fold 0 leaves no clip to train on, as --relabel leaves all of them out"):
        plan_run(clips, only(readers), request_of(relabels=none))


def test_training_learns_the_labels_that_it_is_given(readers, clips, request_of) -> None:
    """Bark and Gong change places: the network says so, and every such clip of the held fold is scored as wrong."""
    swap = {"Bark": "Gong", "Flute": "Flute", "Gong": "Bark"}
    held = plan_run(clips, only(readers), request_of(folds=[0])).jobs[0].held
    left_out = {readers["head"][1].names[np.flatnonzero(held)[0]], readers["head"][1].names[np.flatnonzero(~held)[0]]}
    pairs = zip(clips["fname"], clips["label"], strict=True)
    relabels = relabels_of(*((name, None if name in left_out else swap[label], None) for name, label in pairs))
    request = request_of(folds=[0], relabels=relabels)
    request = dataclasses.replace(request, recipe=dataclasses.replace(request.recipe, epochs=8))
    job = plan_run(clips, only(readers), request).jobs[0]
    train_fold(job)
    oof = pd.read_csv(job.folder / "oof.csv").set_index("fname")
    held_clips = clips.set_index("fname").loc[oof.index]
    assert len(oof) == held.sum()
    assert oof.idxmax(axis=1).tolist() == [swap[label] for label in held_clips["label"]]
    info = read_info(job.folder)
    assert info is not None
    assert info["scored_clips"] == held_clips["manually_verified"].sum()
    assert info["map3"] < 0.9
    assert info["training_clips"] == (~held).sum() - 1
