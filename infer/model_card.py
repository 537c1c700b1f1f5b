"""The model card of a bundle: what the networks are, what they were trained on, how good they are, where they end.

Source of the sections: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019 (arXiv:1810.03993).
"""

from collections.abc import Mapping, Sequence

from infer.calibration import Calibration
from train.checkpoint import Checkpoint

_LIMITS = """\
- It knows the classes above and no other sound: what is none of them is told as one of them, with a low score at best.
- It was trained on clips with one sound each. Overlapping sounds share their scores.
- Scores come from clips of the corpus it was trained on; other recorders, rooms and libraries do worse.
- Do not use it where a missed or a wrong sound can harm somebody."""


def model_card(
    name: str, loaded: Mapping[str, Sequence[Checkpoint]], calibration: Calibration, *, with_onnx: bool
) -> str:
    """Return the card as Markdown."""
    first = next(iter(loaded.values()))[0].info
    classes: list[str] = first["classes"]
    graphs = " `model.onnx` beside it is the same as a graph: frames [B, T, M] → logits [B, K]." if with_onnx else ""
    return f"""\
# {name}

Tags sounds: {len(classes)} classes, {len(loaded)} {"view" if len(loaded) == 1 else "views"} of a sound
({", ".join(loaded)}), {sum(map(len, loaded.values()))} networks.

    cli tag --bundle THIS_FOLDER recordings

## Networks

{_table(loaded)}

`<mode>/fold-<k>/model.json` holds the front-end's settings of each (`mode`), its own (`model`) and how it was trained
(`recipe`, seed {first.get("seed", "unknown")}); `model.safetensors` its weights.{graphs} Probabilities are joined by
the rooted geometric mean over windows, networks and views, then brought to a temperature of
{calibration.temperature:.3f}. A network has no say in the classes that its `model.json` lists as `unseen_classes`: it
was trained without them.

## Training data

{_data(loaded)}

## Scores

mAP@3 in the table is that of the clips that a network was not trained on (the verified ones, where the corpus says
which these are), with its standard error. {_calibration(calibration)}

## Classes

{", ".join(classes)}

## Limits

{_LIMITS}

Made with torch {first.get("versions", {}).get("torch", "of unknown version")}.
"""


def _table(loaded: Mapping[str, Sequence[Checkpoint]]) -> str:
    rows = ["| view | fold | network | recipe | epochs | mAP@3 |", "|---|---|---|---|---|---|"]
    for mode, checkpoints in loaded.items():
        for checkpoint in checkpoints:
            info = checkpoint.info
            error = f" ± {info['map3_se']:.3f}" if info["map3_se"] is not None else ""
            rows.append(
                f"| {mode} | {info['fold']} | {info['model']['network']} | {info['recipe'].get('name', '')} "
                f"| {info['epoch']} | {info['map3']:.3f}{error} |"
            )
    return "\n".join(rows)


def _data(loaded: Mapping[str, Sequence[Checkpoint]]) -> str:
    first = next(iter(loaded.values()))[0].info
    counts = sorted({each.info.get("training_clips", 0) for checkpoints in loaded.values() for each in checkpoints})
    clips = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    changed = f" Labels were changed for it: {first['relabelled']}." if first.get("relabelled") else ""
    pretrained = first["recipe"].get("pretrained")
    began = " It began with weights trained on synthetic sounds, if the view has such." if pretrained else ""
    return (
        f"Each network saw {clips} clips; `corpus` in `model.json` is a digest of all clips and labels.{changed}{began}"
    )


def _calibration(calibration: Calibration) -> str:
    if not calibration.clips:
        return "No temperature was fitted."
    return (
        f"The temperature was fitted on {calibration.clips} such clips: expected calibration error "
        f"{calibration.error_before:.3f} before, {calibration.error_after:.3f} after (by cross-validation; "
        f"{calibration.error_by_chance:.3f} by chance alone)."
    )
