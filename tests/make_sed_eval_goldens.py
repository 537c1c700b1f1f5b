"""Write sed_eval_goldens.json: made-up event lists and what sed_eval says of them.

Run it in an environment of its own, with sed_eval 0.2.1 and dcase_util 0.2.20, which the project does not depend on:

    python tests/make_sed_eval_goldens.py

Times have three digits. ``substitutions`` is None where sed_eval's own answer depends on the order of the lists.
"""

import json
import math
import random
import sys
from pathlib import Path

import sed_eval

OUT = Path(__file__).with_name("sed_eval_goldens.json")
LABELS = ("Bark", "Cough", "Knock", "Meow", "Tearing")

# kind of list, recordings, events a recording; collar, share of the length, onset only; segment in seconds
CASES = (
    ("jittered", 4, 12, 0.2, 0.5, False, 1.0),
    ("jittered", 4, 12, 0.5, 0.5, False, 0.5),
    ("jittered", 4, 12, 0.2, 0.0, False, 0.1),
    ("jittered", 4, 12, 0.2, 0.5, True, 2.5),
    ("jittered", 1, 60, 0.05, 0.2, False, 0.02),
    ("tenths", 3, 20, 0.2, 0.5, False, 0.1),
    ("tenths", 3, 20, 0.1, 0.0, True, 0.3),
    ("crowded", 2, 40, 0.2, 0.5, False, 1.0),
    ("crowded", 2, 40, 0.5, 1.0, False, 0.25),
    ("crowded", 1, 80, 1.0, 0.5, True, 5.0),
    ("other classes", 3, 8, 0.2, 0.5, False, 1.0),
    ("nothing found", 2, 6, 0.2, 0.5, False, 1.0),
    ("nothing there", 2, 6, 0.2, 0.5, False, 1.0),
    ("one side only", 5, 5, 0.2, 0.5, False, 1.0),
)


def make_events(rng, count, seconds, labels, *, digits=3):
    events = []
    for _ in range(count):
        onset = round(rng.uniform(0, seconds), digits)
        length = max(round(rng.expovariate(1.0), digits), 10.0**-digits)
        events.append((onset, round(onset + length, digits), rng.choice(labels)))
    return events


def disturbed(rng, events, labels, *, digits=3):
    """Shift, lengthen, relabel and drop some events, and add others."""
    found = []
    for onset, offset, label in events:
        onset = round(max(onset + rng.gauss(0, 0.15), 0.0), digits)
        offset = round(max(offset + rng.gauss(0, 0.3), onset + 10.0**-digits), digits)
        chance = rng.random()
        if chance < 0.8:
            found.append((onset, offset, rng.choice(labels) if chance < 0.15 else label))
    return found + make_events(rng, len(events) // 5, 60.0, labels, digits=digits)


def make_lists(rng, kind, n_recordings, n_events):
    digits = 1 if kind == "tenths" else 3
    seconds = 6.0 if kind == "crowded" else 60.0
    truth, found = {}, {}
    for index in range(n_recordings):
        name = f"{index:02d}.wav"
        labels = LABELS[:2] if kind == "crowded" else LABELS
        events = make_events(rng, n_events, seconds, labels, digits=digits)
        truth[name] = [] if kind == "nothing there" else events
        found[name] = [] if kind == "nothing found" else disturbed(rng, events, labels, digits=digits)
        if kind == "crowded":
            found[name] = make_events(rng, n_events, seconds, labels)
        if kind == "other classes":
            truth[name] = [event for event in truth[name] if event[2] not in LABELS[:2]]
            found[name] = [event for event in found[name] if event[2] not in LABELS[1:3]]
        if kind == "one side only":
            (truth, found)[index % 2].pop(name)
    return found, truth


def as_dicts(name, events):
    return [{"file": name, "onset": on, "offset": off, "event_label": label} for on, off, label in events]


def run(metrics, found, truth, *, order=sorted):
    metrics.empty_system_output_handling = "zero_score"
    for name in sorted({*found, *truth}):
        metrics.evaluate(as_dicts(name, order(truth.get(name, []))), as_dicts(name, order(found.get(name, []))))
    return metrics


def number(value):
    return None if math.isnan(value) else value


def answers(metrics, truth_labels):
    overall = metrics.results_overall_metrics()
    classes = metrics.results_class_wise_metrics()
    total = metrics.overall
    macro = {}
    for ours, theirs in (("f1", "f_measure"), ("precision", "precision"), ("recall", "recall")):
        values = [classes[label]["f_measure"][theirs] for label in truth_labels]
        macro[ours] = sum(values) / len(values) if values else None
    return {
        "f1": number(overall["f_measure"]["f_measure"]),
        "precision": number(overall["f_measure"]["precision"]),
        "recall": number(overall["f_measure"]["recall"]),
        "macro": macro,
        "truth": int(total["Nref"]),
        "predicted": int(total["Nsys"]),
        "correct": int(total["Ntp"]),
        "substitutions": int(total["S"] if "S" in total else total["Nsubs"]),
        "deletions": int(total["D"] if "D" in total else total["Nfn"]),
        "insertions": int(total["I"] if "I" in total else total["Nfp"]),
        "error_rate": overall["error_rate"]["error_rate"] if total["Nref"] else None,
        "by_class": {
            label: {
                "f1": number(row["f_measure"]["f_measure"]),
                "precision": number(row["f_measure"]["precision"]),
                "recall": number(row["f_measure"]["recall"]),
                "truth": int(row["count"]["Nref"]),
                "predicted": int(row["count"]["Nsys"]),
                "correct": int(metrics.class_wise[label]["Ntp"]),
            }
            for label, row in classes.items()
            if row["count"]["Nref"] or row["count"]["Nsys"]
        },
    }


def case(rng, kind, n_recordings, n_events, collar, share, onset_only, segment):
    found, truth = make_lists(rng, kind, n_recordings, n_events)
    truth_labels = sorted({label for events in truth.values() for *_, label in events})

    def event_metrics():
        return sed_eval.sound_event.EventBasedMetrics(
            list(LABELS), evaluate_offset=not onset_only, t_collar=collar, percentage_of_length=share
        )

    events = answers(run(event_metrics(), found, truth), truth_labels)
    others = [lambda row: sorted(row, reverse=True), lambda row: rng.sample(row, len(row))] * 3
    if any(
        run(event_metrics(), found, truth, order=order).overall["Nsubs"] != events["substitutions"] for order in others
    ):
        events |= dict.fromkeys(("substitutions", "deletions", "insertions", "error_rate"))
    segments = answers(run(sed_eval.sound_event.SegmentBasedMetrics(list(LABELS), segment), found, truth), truth_labels)
    return {
        "kind": kind,
        "settings": {"collar": collar, "length_share": share, "onset_only": onset_only, "segment": segment},
        "predicted": found,
        "truth": truth,
        "event_based": events,
        "segment_based": segments,
    }


def main(out=OUT, repeats=1, seed=20161):
    rng = random.Random(seed)
    cases = [case(rng, *settings) for _ in range(repeats) for settings in CASES]
    body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in cases)
    Path(out).write_text(f"[\n{body}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:]))
