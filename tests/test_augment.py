import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.augment import equalise, erase, mask, mixup, reverberate, shift_and_flip, shift_bands

B, T, M = 64, 40, 16


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(n_windows: int = B, n_frames: int = T) -> torch.Tensor:
    """Windows whose values are the frame's number."""
    return torch.arange(n_frames).float()[None, :, None].repeat(n_windows, 1, M)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(B, T, M, generator=seeded(1)) * 3


# --- mixup ---------------------------------------------------------------------------------------------------------


def test_mixup_says_how_much_is_of_the_first() -> None:
    ones, zeros = torch.ones(B, T, M), torch.zeros(B, T, M)
    x, share = mixup(ones, zeros, alpha=1.0, generator=seeded())
    assert torch.allclose(x, share[:, None, None].expand_as(x))
    assert share.min() >= 0
    assert share.max() <= 1
    assert len(share.unique()) == B  # a share of its own for each window


def test_mixup_of_equal_windows_changes_nothing(x: torch.Tensor) -> None:
    assert torch.equal(mixup(x, x, alpha=1.0, generator=seeded())[0], x)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_follow_beta(alpha: float) -> None:
    one = torch.ones(20_000, 1, 1)
    share = mixup(one, one, alpha=alpha, generator=seeded())[1].double()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)  # of Beta(alpha, alpha)


def test_shares_of_a_tiny_alpha_are_numbers() -> None:
    one = torch.ones(20_000, 1, 1)
    share = mixup(one, one, alpha=1e-3, generator=seeded())[1]  # both gamma variates underflow
    assert share.isfinite().all()


# --- rooms ---------------------------------------------------------------------------------------------------------


def clicks(n_windows: int = 400, *, level: float = 0.0, floor: float = -200.0) -> torch.Tensor:
    """Windows of silence but for one frame, the tenth, in dB."""
    x = torch.full((n_windows, T, M), floor)
    x[:, 10] = level
    return x


def reverberated(x: torch.Tensor, *, probability: float = 1.0, per_db: float = 1.0, frame_seconds: float = 0.02):
    return reverberate(
        x.clone(), probability=probability, per_db=per_db, frame_seconds=frame_seconds, generator=seeded()
    )


def test_a_click_dies_away_in_a_straight_line() -> None:
    x = reverberated(clicks())
    assert torch.equal(x[:, :10], clicks()[:, :10])  # nothing sounds before it does
    assert torch.equal(x[:, 10], clicks()[:, 10])  # a room adds nothing louder than the sound
    slopes = x[:, 11:].diff(dim=1)
    assert torch.allclose(slopes, slopes[:, :1, :1].expand_as(slopes), atol=1e-3)
    per_second = -slopes[:, 0, 0] / 0.02
    assert per_second.min() >= 16 - 0.1
    assert per_second.max() <= 160 + 0.1
    assert per_second.median() == pytest.approx((16 * 160) ** 0.5, rel=0.2)  # log-uniform
    wet = x[:, 11, 0] + per_second * 0.02
    assert wet.min() >= -30 - 1e-3
    assert wet.max() <= -6 + 1e-3
    assert wet.max() - wet.min() > 20


def test_what_is_louder_than_the_room_stays(x: torch.Tensor) -> None:
    assert (reverberated(x) >= x).all()
    falling = clicks(floor=-1000.0).cummax(dim=1).values  # a sound that lasts
    assert torch.equal(reverberated(falling), falling)


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_as_many_windows_as_asked_for_are_in_a_room(probability: float, share: float) -> None:
    changed = (reverberated(clicks(2000), probability=probability) != clicks(2000)).any(dim=(1, 2))
    assert float(changed.float().mean()) == pytest.approx(share, abs=0.04)


def test_a_room_is_the_same_in_other_units_and_steps() -> None:
    in_db = reverberated(clicks())
    assert torch.allclose(reverberated(clicks() * 0.23, per_db=0.23), in_db * 0.23, atol=1e-3)
    finer = reverberated(clicks(floor=-400.0), frame_seconds=0.01)  # two of its frames are one of the others
    assert torch.allclose(finer[:, 12::2], reverberated(clicks(floor=-400.0))[:, 11:25], atol=1e-3)


# --- other pitches, other microphones ------------------------------------------------------------------------------


def test_bands_move_up_and_down_and_repeat_at_the_edge() -> None:
    x = torch.arange(M).float().expand(500, T, M)
    moved = shift_bands(x, most=0.2, generator=seeded())  # of 16 bands, three
    shift = (moved - x)[:, 0, 8]
    assert sorted(shift.unique().tolist()) == [-3, -2, -1, 0, 1, 2, 3]
    expected = (torch.arange(M)[None, :] + shift[:, None]).clamp(0, M - 1)
    assert torch.equal(moved, expected[:, None, :].expand_as(x))


def test_an_equaliser_adds_a_curve_of_the_bands_to_all_frames() -> None:
    x = torch.randn(2000, T, M, generator=seeded(3))
    curve = equalise(x, std=0.25, generator=seeded()) - x
    assert torch.allclose(curve, curve[:, :1].expand_as(curve), atol=1e-5)
    assert float(curve[:, 0, 0].std()) == pytest.approx(0.25, rel=0.1)
    assert abs(float(curve.mean())) < 0.02
    bends = curve[:, 0].diff(dim=1).diff(dim=1).abs() > 1e-4
    assert int(bends.sum(dim=1).max()) <= 6  # straight between five points, which lie between bands


# --- masks ---------------------------------------------------------------------------------------------------------


def test_masks_overwrite_whole_bands_and_whole_frames_with_zero() -> None:
    x = torch.ones(B, T, M)
    masked = mask(x, bands=0.5, frames=0.5, generator=seeded()) == 0
    bands, frames = masked.all(dim=1), masked.all(dim=2)
    assert torch.equal(masked, bands[:, None, :] | frames[:, :, None])
    assert len(bands.unique(dim=0)) > B / 2  # drawn for each window
    assert len(frames.unique(dim=0)) > B / 2


@pytest.mark.parametrize(("bands", "frames"), [(0.25, 0.0), (0.0, 0.25)])
def test_a_mask_is_no_wider_than_asked(bands: float, frames: float) -> None:
    masked = mask(torch.ones(500, T, M), bands=bands, frames=frames, generator=seeded()) == 0
    widths = (masked.any(dim=1) if bands else masked.any(dim=2)).sum(dim=1)
    size = M if bands else T
    assert size / 4 < widths.max() <= size / 2  # two of a quarter each
    assert widths.min() <= 1
    assert torch.equal(mask(torch.ones(3, T, M), bands=0.0, frames=0.0, generator=seeded()), torch.ones(3, T, M))


def test_masks_reach_both_ends() -> None:
    masked = mask(torch.ones(500, T, M), bands=0.3, frames=0.3, generator=seeded()) == 0
    bands, frames = masked.all(dim=1).any(dim=0), masked.all(dim=2).any(dim=0)
    assert bands.all()
    assert frames.all()


# --- shift and flip ------------------------------------------------------------------------------------------------


def test_no_shift_and_no_flip_change_nothing(x: torch.Tensor) -> None:
    assert torch.equal(shift_and_flip(x, max_shift=0.0, flip=False, generator=seeded()), x)


def test_a_flip_reverses_time_in_half_of_the_windows(x: torch.Tensor) -> None:
    flipped = shift_and_flip(x, max_shift=0.0, flip=True, generator=seeded())
    same = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    reverse = [torch.equal(a, b.flip(0)) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(same, reverse, strict=True))
    assert 16 < sum(same) < 48


@settings(deadline=None)
@given(n_frames=st.integers(1, 60), max_shift=st.floats(0, 1), flip=st.booleans(), seed=st.integers(0, 2**31))
def test_a_shift_moves_frames_and_repeats_the_edge(n_frames: int, max_shift: float, flip: bool, seed: int) -> None:
    moved = shift_and_flip(ramps(8, n_frames), max_shift=max_shift, flip=flip, generator=seeded(seed))
    assert torch.equal(moved, moved[:, :, :1].expand_as(moved))  # mel bands stay where they are
    frame = np.arange(n_frames)
    limit = round(max_shift * n_frames)
    allowed = {
        tuple(row if not reverse else row[::-1])
        for shift in range(-limit, limit + 1)
        for row in [np.clip(frame + shift, 0, n_frames - 1)]
        for reverse in (False, True)[: 1 + flip]
    }
    for window in moved[:, :, 0].long().numpy():
        assert tuple(window) in allowed


def test_shifts_go_both_ways_up_to_their_limit() -> None:
    moved = shift_and_flip(ramps(2000, 101), max_shift=0.4, flip=False, generator=seeded())
    shift = moved[:, 50, 0] - 50
    assert shift.min() == -40
    assert shift.max() == 40
    assert float(shift.mean()) == pytest.approx(0, abs=3)


# --- erasing -------------------------------------------------------------------------------------------------------


def test_an_erased_part_is_a_rectangle_of_one_value() -> None:
    x = torch.full((B, 201, 128), 9.0)
    erased = erase(x, probability=1.0, generator=seeded())
    shares = []
    for window in erased:
        changed = (window != 9.0).numpy()
        frames, mels = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert changed[frames[0] : frames[-1] + 1, mels[0] : mels[-1] + 1].all()
        assert changed.sum() == (frames[-1] + 1 - frames[0]) * (mels[-1] + 1 - mels[0])
        values = window[torch.from_numpy(changed)].unique()
        assert len(values) == 1
        assert -1 <= float(values) <= 1
        shares.append(changed.mean())
    assert 0.015 < min(shares) < max(shares) <= 0.4
    assert np.std(shares) > 0.05


@pytest.mark.parametrize(("n_frames", "n_mels"), [(201, 128), (301, 48)])
def test_every_window_that_is_to_be_erased_is(n_frames: int, n_mels: int) -> None:
    many = torch.full((200, n_frames, n_mels), 9.0)  # a first try fits a window of X with probability 0.07 only
    assert bool((erase(many, probability=1.0, generator=seeded()) != many).flatten(1).any(dim=1).all())


def test_the_probability_is_that_of_a_window(x: torch.Tensor) -> None:
    many = torch.full((1000, T, M), 9.0)
    erased = erase(many, probability=0.5, generator=seeded())
    assert float((erased != many).flatten(1).any(dim=1).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert torch.equal(erase(x, probability=0.0, generator=seeded()), x)


def test_the_rectangle_is_wide_and_high_in_turn() -> None:
    erased = erase(torch.full((500, 100, 100), 9.0), probability=1.0, generator=seeded()) != 9.0
    height = erased.any(dim=1).sum(dim=1).float()
    width = erased.any(dim=2).sum(dim=1).float()
    assert float((height / width).min()) < 0.5
    assert float((height / width).max()) > 2


# --- all of them ---------------------------------------------------------------------------------------------------


def test_draws_come_from_the_generator_alone(x: torch.Tensor) -> None:
    def augmented(seed: int) -> torch.Tensor:
        generator = seeded(seed)
        mixed, share = mixup(x, x.flip(0), alpha=1.0, generator=generator)
        mixed = shift_bands(mixed, most=0.2, generator=generator)
        mixed = equalise(mixed, std=0.25, generator=generator)
        mixed = mask(mixed, bands=0.3, frames=0.3, generator=generator)
        moved = shift_and_flip(mixed, max_shift=0.4, flip=True, generator=generator)
        return torch.cat([erase(moved, probability=0.5, generator=generator).ravel(), share])

    before = torch.get_rng_state()
    first = augmented(5)
    torch.rand(3)
    assert torch.equal(first, augmented(5))
    assert not torch.equal(first, augmented(6))
    torch.set_rng_state(before)


def test_what_is_given_is_not_changed(x: torch.Tensor) -> None:
    kept = x.clone()
    mixup(x, x.flip(0), alpha=1.0, generator=seeded())
    mask(x, bands=0.3, frames=0.3, generator=seeded())
    shift_bands(x, most=0.2, generator=seeded())
    equalise(x, std=1.0, generator=seeded())
    shift_and_flip(x, max_shift=0.4, flip=True, generator=seeded())
    erase(x, probability=1.0, generator=seeded())
    assert torch.equal(x, kept)
