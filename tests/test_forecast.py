"""The plan of a run as a table: arithmetic on plain data."""

import pytest

import cli as command_line
from featurize.modes import MODES
from infer.forecast import RunForecast, Stage, network_seconds, predict_stage, report_stage

STAGES = [
    Stage("featurize", "11,073 clips, lh and x", 41.0, 2_100_000_000),
    Stage("train", "10 folds of 60 + 120 epochs", 36_000.0, 425_000_000),
    Stage("predict", "1,600 clips by 10 networks", 30.0, 72_000),
    Stage("report", "600 clips with pictures", 5.1, 38_000_000),
]
FORECAST = RunForecast(
    clips={"train": 9473, "test": 1600},
    hours=20.17,
    classes=41,
    folds=5,
    epochs=120,
    first_round_epochs=60,
    run="best",
    recipe="best",
    modes=["lh", "x"],
    stages=STAGES,
    training={"lh": {"start_seconds": 1.0, "epoch_seconds": 2.0}},
    workers=2,
)


def test_the_whole_is_the_sum_of_its_stages():
    assert FORECAST.seconds == pytest.approx(36_076.1)
    assert FORECAST.after_training() == pytest.approx(35.1)
    found = FORECAST.to_dict()
    assert found["bytes"] == sum(row["bytes"] for row in found["stages"])
    assert found["stages"][1] == {
        "stage": "train",
        "what": "10 folds of 60 + 120 epochs",
        "seconds": 36_000.0,
        "bytes": 425_000_000,
    }


def test_the_table_fits_a_terminal(tmp_path):
    lines = command_line._forecast_text(FORECAST, tmp_path.relative_to("/")).splitlines()
    table = lines[lines.index("") + 1 :]
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["stage", "time", "disk"]
    assert " ".join(table[2].split()) == "train 10 folds of 60 + 120 epochs 10 h 0 min 425.0 MB"
    assert " ".join(table[-1].split()) == "in all 10 h 1 min 2.6 GB"
    assert lines[0].endswith("9,473 training and 1,600 test clips, 20.2 h, 41 classes")


def test_predictions_follow_the_frames():
    one, two = (network_seconds([MODES["x"]], [10.0] * number, {"x": 1e-3}) for number in (100, 200))
    assert two - one == pytest.approx(100 * 1e-3 * MODES["x"].n_frames(10.0))
    unknown = network_seconds([MODES["x"]], [10.0], {})
    assert unknown == pytest.approx(one - 100 * 1e-3 * MODES["x"].n_frames(10.0))
    stage = predict_stage(1600, n_networks=10, seconds=7.0)
    assert (stage.what, stage.n_bytes) == ("1,600 clips by 10 networks", 72_000)
    assert stage.seconds > 7


def test_a_report_grows_with_what_is_shown():
    few, many = (report_stage(n, pictured=600, mean_seconds=6.0, sound_bytes=25_000_000) for n in (10, 100_000))
    assert few.what == "10 clips with pictures"
    assert many.what == "600 clips with pictures"
    assert few.n_bytes < 10_000_000 < 25_000_000 * 4 / 3 < many.n_bytes
