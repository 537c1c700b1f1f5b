import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from cache.errors import InputError
from infer.calibration import Calibration, calibrate, calibration_error, fit_temperature, temper
from train.scores import renormalise


def drawn(n_clips: int, *, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated log-probabilities of six classes, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    log_p = renormalise(rng.normal(0, spread, (n_clips, 6)))
    return log_p, np.array([rng.choice(6, p=np.exp(row)) for row in log_p])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_temperature_that_was_put_in_is_found(temperature: float) -> None:
    log_p, labels = drawn(4_000, spread=2.0)
    assert fit_temperature(temper(log_p, 1 / temperature), labels) == pytest.approx(temperature, rel=0.06)


@given(st.floats(0.05, 20))
def test_a_temperature_keeps_the_order_and_the_sum(temperature: float) -> None:
    log_p, _ = drawn(20, spread=2.0)
    tempered = temper(log_p, temperature)
    assert np.array_equal(np.argsort(tempered, axis=1), np.argsort(log_p, axis=1))
    assert np.exp(tempered).sum(axis=1) == pytest.approx(np.ones(20))


def test_a_class_that_training_never_knew_does_not_make_all_others_unsure() -> None:
    log_p, labels = drawn(2_000, spread=3.0)
    labels[:200] = 5
    log_p[:200] = renormalise(np.where(np.arange(6) == 5, -30.0, log_p[:200]))
    by_likelihood = minimize_scalar(
        lambda t: -temper(log_p, t)[np.arange(2_000), labels].mean(), bounds=(0.05, 20), method="bounded"
    ).x
    assert by_likelihood > 2.5
    assert 1.0 < fit_temperature(log_p, labels) < 1.6


def test_what_is_calibrated_shows_what_chance_does() -> None:
    found = calibrate(*drawn(2_000, spread=2.0))
    assert found.temperature == pytest.approx(1, abs=0.1)
    assert found.clips == 2_000
    assert found.error_before < 0.04
    assert found.error_after < 0.04
    assert found.error_by_chance == pytest.approx(found.error_after, abs=0.015)


def test_overconfidence_is_mended_on_clips_that_were_not_fitted() -> None:
    log_p, labels = drawn(1_000, spread=1.5)
    found = calibrate(temper(log_p, 1 / 3), labels)
    assert found.error_before > 0.2
    assert found.error_after < 0.06


def test_the_error_after_is_that_of_held_clips() -> None:
    log_p, labels = drawn(60, spread=1.0, seed=4)
    found = calibrate(log_p, labels)
    fitted = temper(log_p, found.temperature)
    inside = calibration_error(np.exp(fitted.max(axis=1)), fitted.argmax(axis=1) == labels)
    assert found.error_after != inside


def test_a_few_clips_fit_no_temperature() -> None:
    assert calibrate(*drawn(19, spread=2.0)) == pytest.approx(Calibration(), nan_ok=True)


def test_the_error_is_the_mean_gap_of_equal_bins() -> None:
    confidence = np.array([0.95, 0.85, 0.15, 0.05])
    right = np.array([True, True, False, True])
    assert calibration_error(confidence, right, n_bins=2) == pytest.approx((abs(0.9 - 1) + abs(0.1 - 0.5)) / 2)
    assert calibration_error(confidence, right, n_bins=99) == pytest.approx((0.05 + 0.15 + 0.15 + 0.95) / 4)


def test_no_clips_have_no_error() -> None:
    with pytest.raises(InputError, match="one clip or more"):
        calibration_error(np.zeros(0), np.zeros(0, bool))


def test_a_calibration_comes_back_from_json() -> None:
    for one in (Calibration(1.5, 40, 0.2, 0.1, 0.05), Calibration()):
        values = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        assert Calibration.from_dict(values) == pytest.approx(one, nan_ok=True)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": None}, {"temperature": "1"}, {"temperature": True}, {"more": 1}],
)
def test_what_is_no_calibration_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="a calibration must hold clips, error_after"):
        Calibration.from_dict(Calibration().to_dict() | change)
