"""The pictures of a report as PNG: what is drawn, for two classes as for 527."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import style
from PIL import Image

from infer.plots import _STYLE, _save, class_figure, confusion_figure, curves_figure


@pytest.fixture(autouse=True)
def in_the_style_of_pictures():
    with style.context(_STYLE):
        yield


def classes_table(n_classes, *, test=True):
    rng = np.random.default_rng(0)
    ap = rng.random((2, n_classes))
    columns = {"label": [f"$class_{k}" for k in range(n_classes)], "oof": ap[0], "oof_se": 0.1, "test": ap[1]}
    return pd.DataFrame(columns | {"test_se": 0.1, "test_clips": 5 if test else 0})


def test_curves_show_each_fold_and_their_mean():
    folds = {
        0: pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "valid_loss": [3.0, 2, 2], "map3": [0.1, 0.5, 0.7]}),
        1: pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 1], "valid_loss": [1.0, np.nan], "map3": [0.3, 0.7]}),
    }
    losses, scores = curves_figure("lh", folds)().axes
    assert (losses.get_xlabel(), scores.get_ylabel()) == ("Epoch", "mAP@3")
    assert len(scores.lines) == 3
    np.testing.assert_allclose(scores.lines[-1].get_ydata(), [0.2, 0.6])
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["mean, training", "mean, held fold"]


def test_one_fold_is_its_own_mean():
    fold = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 1], "valid_loss": [1.0, 1], "map3": [0.3, 0.7]})
    _, scores = curves_figure("lh", {3: fold})().axes
    assert len(scores.lines) == 1
    assert scores.get_legend().get_texts()[0].get_text() == "held fold"


def test_one_epoch_is_a_point_on_a_whole_number():
    fold = pd.DataFrame({"epoch": [1], "loss": [1.0], "valid_loss": [1.2], "map3": [0.3]})
    for axes in curves_figure("lh", {0: fold, 1: fold})().axes:
        assert {line.get_marker() for line in axes.lines} == {"o"}
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert 1 in shown
        assert all(tick == round(tick) for tick in shown)


@pytest.mark.parametrize("test", [True, False])
def test_a_class_has_a_bar_a_split(test):
    (axes,) = class_figure(classes_table(5, test=test))().axes
    assert len(axes.patches) == (10 if test else 5)
    assert axes.get_yticklabels()[0].get_text() == "$class_0"


@pytest.mark.parametrize(("n_classes", "numbers"), [(2, 4), (41, 41 * 41), (527, 0)])
def test_confusions_are_numbered_where_there_is_room(n_classes, numbers):
    counts = np.arange(n_classes**2).reshape(n_classes, n_classes) + 1
    axes = confusion_figure(counts, [f"class_{k}" for k in range(n_classes)], "Confusions")().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Likeliest class", "Label")
    assert len(axes.texts) == numbers
    if numbers:
        assert {text.get_text() for text in axes.texts} == {str(count) for count in counts.ravel()}
        below = axes.texts[n_classes]  # row by row: row 1, column 0
        assert below.get_text() == str(counts[1, 0])
        assert below.get_position() == (0, 1)


@pytest.mark.parametrize("n_classes", [1, 527])
def test_files_have_sensible_sizes(tmp_path, n_classes):
    counts = np.eye(n_classes, dtype=int)
    labels = [f"\N{HIRAGANA LETTER A}\u202e{'long name ' * 9}{k}" for k in range(n_classes)]
    for draw in (confusion_figure(counts, labels, "Confusions"), class_figure(classes_table(n_classes))):
        path = _save(draw, tmp_path / "new folder" / "a.png")
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert max(image.size) <= 9000
