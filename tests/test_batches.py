"""The batches of an epoch."""

from pathlib import Path

from stores import LONG, QUICK, jobs_of

from train.batches import draw_batches
from train.crops import ClipDataset
from train.recipe import Recipe


def lengths_of(folder: Path, recipe: Recipe, window_frames: int) -> set[int]:
    job = jobs_of(folder, mode=LONG)[0]
    clips = ClipDataset(job.reader, job.trained.tolist())
    labels = job.targets[job.trained]
    return {
        batch.windows.shape[1]
        for seed in range(30)
        for batch in draw_batches(clips, labels, recipe, window_frames=window_frames, mixed=False, seed=seed)
    }


def crops(shortest: float) -> Recipe:
    return Recipe(name="crops", whole_clips=True, shortest_crop=shortest, batch_size=QUICK.batch_size)


def test_crops_come_in_few_lengths_between_their_bounds(tmp_path: Path) -> None:
    assert lengths_of(tmp_path, crops(0.3), 160) == set(range(48, 161, 16))


def test_crops_of_one_length_keep_to_it_where_it_is_tiny(tmp_path: Path) -> None:
    assert lengths_of(tmp_path, crops(1.0), 5) == {5}
