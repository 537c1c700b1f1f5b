"""The command line: parse, call the library, print, exit.

The only file that prints or exits. Libraries are imported inside the commands, so that ``cli --help`` answers at
once. Results go to standard output, everything else to standard error; with ``--json`` the result is one JSON
object.
"""

import atexit
import contextlib
import functools
import gc
import json
import logging
import math
import sys
import textwrap
import threading
import time
import tomllib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    import pandas as pd

    from cache import Key, StoreReader
    from corpus.crew import Fetched
    from featurize.batch import FeaturizePlan, Featurizer, ModeReport
    from featurize.explain import ModeReason
    from featurize.modes import Dtype, FeatureMode
    from featurize.repair import RepairReport
    from infer.calibration import Calibration
    from infer.captioning import CaptionTask
    from infer.clips import StoredClip
    from infer.forecast import RunForecast, Stage
    from infer.oof import OutOfFold
    from infer.phrases import Phrases
    from infer.report import Report
    from infer.tagging import TagTask
    from infer.tags import Tagged
    from infer.trained import Trained
    from train.budget import Choice
    from train.checkpoint import Checkpoint
    from train.chosen import Budget
    from train.forecast import Measured, TrainingTask
    from train.job import FoldJob
    from train.plan import RunRequest

Function = TypeVar("Function", bound=Callable[..., Any])

EXIT_QUARANTINED = 3
EXIT_NO_SPACE = 6
EXIT_INTERRUPTED = 130
_JSON = "earmark.json"
_OWN_MODES = "earmark.modes"
_CONFIG = "earmark.config"


class Failure(click.ClickException):
    """A named error on its way to the terminal, with the exit status that it asks for."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(escaped(message, keep="\n"))
        self.exit_code = exit_code  # type: ignore[misc] # click's is one a class; here each failure has its own


class Commands(click.Group):
    """The root group: turns named errors into one line and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            message = "Interrupted; what was finished is kept."
            click.echo(message, err=True)
            _show_error(ctx, message, EXIT_INTERRUPTED)
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
        except click.UsageError as error:
            _show_error(ctx, error.format_message(), error.exit_code)
            raise
        except OSError as error:
            message, code = _describe(error)
        except Exception as error:
            from cache.errors import EarmarkError

            if not isinstance(error, EarmarkError):
                raise
            message, code = str(error), error.exit_code
        _show_error(ctx, message, code)
        raise Failure(message, code)


RECIPE_NAMES = ("best", "notebook", "baseline")  # of train.recipe, which would bring torch into cli --help


def _show_error(ctx: click.Context, message: str, code: int) -> None:
    """Print the error as the one JSON object, where that is asked for."""
    if ctx.meta.get(_JSON):
        with contextlib.suppress(OSError):  # standard output may be what failed
            click.echo(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))


def _describe(error: OSError) -> tuple[str, int]:
    from cache.errors import EarmarkError
    from cache.space import NO_SPACE_ERRNOS

    if isinstance(error, EarmarkError):
        return str(error), error.exit_code
    if isinstance(error, BrokenPipeError):
        raise error
    where = f"{error.filename}: " if error.filename else ""
    message = f"{where}{error.strerror or error}"
    if error.errno in NO_SPACE_ERRNOS:
        return f"{message}; make room, and run the same command again", EXIT_NO_SPACE
    return message, 1


_SHARES = {"precision": 11, "recall": 9, "f1": 9}  # of an event list: its columns and their widths
_CAPTIONS_FOR = {
    "vtt": "play the recording with the file beside it as its subtitles",
    "srt": "play the recording with the file beside it as its subtitles",
    "audacity": "open the recording in Audacity, then File > Import > Labels",
    "raven": "open the recording in Raven, then File > Open Selection Table",
}
_CAPTIONS_TO_SCORE = "cli evaluate-events scores such a file against a true one"
_LISTED = 20  # so many things to remove are shown
_PLACES = {name: f"--{name.removesuffix('_name')}" for name in ("config", "store", "runs", "run_name", "bundle")}
MAX_SEED = 2**32 - 1  # scikit-learn's


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        message = f"must be a finite number; got {value}"
        raise click.BadParameter(message)
    return value


# --- options that several commands share ---------------------------------------------------------------------------


def option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """Return an option that also comes from EARMARK_<NAME>."""
    word = max(names, key=len).split("/")[0].lstrip("-")
    settings.setdefault("envvar", "EARMARK_" + word.upper().replace("-", "_"))
    settings.setdefault("show_envvar", False)
    return click.option(*names, **settings)


def _read_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        message = f"{path} cannot be read as TOML: {error}"
        raise click.BadParameter(message) from error
    ctx.meta[_CONFIG] = path
    if "modes" in values:
        ctx.meta[_OWN_MODES] = _own_modes(path, values.pop("modes"))
    ctx.default_map = _config_values(ctx, path, values)


def _own_modes(path: Path, tables: object) -> "dict[str, FeatureMode]":
    from cache.errors import InputError
    from featurize.own_modes import read_modes

    try:
        return read_modes(tables)
    except InputError as error:
        message = f"{path}: {error}"
        raise click.BadParameter(message) from error


def _known_modes() -> "dict[str, FeatureMode]":
    """Give the modes that there are for the command that runs: this version's, and those of its --config."""
    from featurize.modes import MODES

    own: dict[str, FeatureMode] = click.get_current_context().meta.get(_OWN_MODES, {})
    return MODES | own


def _config_values(ctx: click.Context, path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Pick this command's values: those at the top serve every command that has the option, a table's only its own."""
    words = _words(ctx.command)
    found: dict[str, Any] = {}
    tables = dict(_command_tables(ctx.find_root().command))
    own = " ".join(ctx.command_path.split()[1:])
    for key, value in values.items():
        name = key.replace("-", "_")
        if not isinstance(value, dict):
            _require_known(path, key, name, set().union(*tables.values()))
            found.setdefault(name, value)
    for title, table in _config_tables(values):
        _require_known(path, f"[{title}]", title, set(tables))
        for key, value in table.items():
            name = key.replace("-", "_")
            _require_known(path, f"{key} in [{title}]", name, tables[title])
            if title == own:
                found[name] = value
    params = {param.name: param for param in ctx.command.params}
    return {
        words[name]: _config_value(path, name, value, params[words[name]])
        for name, value in found.items()
        if name in words
    }


def _config_value(path: Path, name: str, value: Any, param: click.Parameter) -> Any:
    """Check a value's type where click would quietly turn it into another, and allow one value for a list."""
    if isinstance(value, bool) != bool(getattr(param, "is_flag", False)):
        kind = "must not be" if isinstance(value, bool) else "must be"
        message = f"{path}: {name} {kind} true or false; got {value!r}"
        raise click.BadParameter(message)
    if isinstance(param.type, click.IntRange) and isinstance(value, float):
        message = f"{path}: {name} must be a whole number; got {value}"
        raise click.BadParameter(message)
    return [value] if param.multiple and isinstance(value, str) else value


def _config_tables(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``("corpus synth", {...})`` for ``[corpus.synth]``."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{prefix}{key}", {name: item for name, item in value.items() if not isinstance(item, dict)}
            yield from _config_tables(value, f"{prefix}{key} ")


def _command_tables(group: click.Command, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    for name, command in getattr(group, "commands", {}).items():
        yield f"{prefix}{name}", set(_words(command))
        yield from _command_tables(command, f"{prefix}{name} ")


def _words(command: click.Command) -> dict[str, str]:
    """Map what a user calls a value (``max_clip_minutes`` for ``--max-clip-minutes``) to the parameter's name."""
    return {max(param.opts, key=len).lstrip("-").replace("-", "_"): param.name or "" for param in command.params}


def _require_known(path: Path, shown: str, name: str, known: set[str]) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"{path}: {shown} is not an option or a command{hint}"
        raise click.BadParameter(message)


def _note_json(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.meta[_JSON] = value
    return value


def common(function: Function) -> Function:
    """Add the options that every command has."""
    function = option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,  # so that errors in other options are JSON too
        callback=_note_json,
        envvar="EARMARK_JSON",
        help="Print one JSON object on standard output.",
    )(function)
    return option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file with values for options (for all commands, or in a table such as [train]) and with modes of "
        "your own (in tables such as [modes.bark]).",
    )(function)


def corpus_argument(function: Function) -> Function:
    """Add the CORPUS argument."""
    return click.argument("corpus", default="data", envvar="EARMARK_CORPUS", type=click.Path(path_type=Path))(function)


def store_option(function: Function) -> Function:
    """Add ``--store``."""
    return option(
        "--store",
        default="features",
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the feature store.",
    )(function)


def runs_options(function: Function) -> Function:
    """Add ``--runs`` and ``--run``."""
    return runs_option(option("--run", "run_name", metavar="NAME", help="Name of the run.")(function))


def runs_option(function: Function) -> Function:
    """Add ``--runs``."""
    return option(
        "--runs",
        default="runs",
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the runs.",
    )(function)


def mode_option(function: Function) -> Function:
    """Add ``--mode``, which gives modes: those of this version, and those of ``--config``."""
    return _modes("View of the sound, or one of your own from --config; can be given several times.", _find_modes)(
        function
    )


def mode_name_option(function: Function) -> Function:
    """Add ``--mode``, which gives names: what a run or a store has of them is for the command to find out."""
    return _modes("View of the sound, by its name; can be given several times.", _expand_all)(function)


def _modes(text: str, callback: Callable[..., Any]) -> Callable[[Function], Function]:
    return option("--mode", "modes", multiple=True, metavar="lh|x|log|dcase|all|NAME", callback=callback, help=text)


def _find_modes(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> "tuple[FeatureMode, ...]":
    from cache.errors import InputError
    from featurize.modes import resolve_modes

    try:
        return tuple(resolve_modes(values, _known_modes()))
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def _expand_all(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from featurize.modes import ALL

    return tuple(dict.fromkeys(name for value in values for name in (ALL if value == "all" else (value,))))


def _in_dtype(modes: "Sequence[FeatureMode]", dtype: "Dtype | None") -> "list[FeatureMode]":
    """Give the modes, LH and X where there are none, in the stored type that is asked for."""
    import dataclasses

    chosen = modes or _all_modes()
    return [dataclasses.replace(mode, dtype=dtype) for mode in chosen] if dtype else list(chosen)


def dtype_option(function: Function) -> Function:
    """Add ``--dtype``."""
    return option(
        "--dtype",
        type=click.Choice(["float16", "float32"]),
        help="Type of the stored numbers.  [default: the mode's, float16 unless your own says otherwise]",
    )(function)


def jobs_option(function: Function) -> Function:
    """Add ``--jobs``."""
    return option("--jobs", type=click.IntRange(min=1), help="Workers.  [default: one a core]")(function)


def seed_option(default: int, *, seeds: str) -> Callable[[Function], Function]:
    """Return ``--seed`` with its default and what it is the seed of."""
    return option("--seed", type=click.IntRange(min=0, max=MAX_SEED), default=default, show_default=True, help=seeds)


def parallel_options(function: Function) -> Function:
    """Add ``--jobs``, ``--backend`` and ``--scheduler``."""

    @functools.wraps(function)
    def checked(*args: Any, **settings: Any) -> Any:
        if settings["scheduler"] and settings["backend"] == "loky":
            message = f"--scheduler {settings['scheduler']} needs --backend dask or ray; without it nothing runs there"
            raise click.UsageError(message)
        return function(*args, **settings)

    named = option("--scheduler", metavar="ADDR", help="Address of the Dask scheduler or Ray head.")(checked)
    placed = option(
        "--backend",
        type=click.Choice(["loky", "dask", "ray"]),
        default="loky",
        show_default=True,
        help="Where the workers run.",
    )(named)
    return cast(Function, jobs_option(placed))


def recipe_options(function: Function) -> Function:
    """Add ``--folds``, ``--recipe`` and ``--pretrained``."""
    recipe = option(
        "--recipe",
        type=click.Choice(RECIPE_NAMES),
        default="best",
        show_default=True,
        help="Network and settings of training.",
    )(function)
    recipe = option(
        "--pretrained/--no-pretrained",
        default=None,
        help="Begin with weights trained on synthetic sounds.  [default: the recipe's, yes for best]",
    )(recipe)
    return option(
        "--folds",
        type=click.IntRange(min=2),
        default=5,
        show_default=True,
        help="Number of folds, where the corpus brings none.",
    )(recipe)


def relabel_option(text: str) -> Callable[[Function], Function]:
    """Return ``--relabel``, which can be given several times."""
    return option(
        "--relabel",
        multiple=True,
        metavar="CSV",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"{text} (fname,label and manually_verified); can be given several times.",
    )


def networks_options(function: Function) -> Function:
    """Add ``--runs``, ``--run``, ``--bundle``, ``--runtime`` and ``--device``: whose networks, and what runs them."""

    @functools.wraps(function)
    def checked(*args: Any, **settings: Any) -> Any:
        if settings["bundle"] and settings["run_name"]:
            message = f"--bundle {settings['bundle']} and --run {settings['run_name']} exclude each other"
            raise click.UsageError(message)
        if settings["runtime"] == "onnx" and not settings["bundle"]:
            message = "--runtime onnx needs --bundle: a run has no graphs; make a bundle with cli export"
            raise click.UsageError(message)
        return function(*args, **settings)

    runtime = option(
        "--runtime",
        type=click.Choice(["torch", "onnx"]),
        default="torch",
        show_default=True,
        help="What runs a bundle's networks; onnx needs pip install 'earmark[onnx]'.",
    )(device_option(checked))
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    bundle = option("--bundle", type=folder, help="Folder that cli export made, in place of a run.")(runtime)
    return cast(Function, runs_options(bundle))


def longest_option(text: str) -> Callable[[Function], Function]:
    """Return ``--max-clip-minutes``."""
    kind = click.FloatRange(min=0, min_open=True)
    return option("--max-clip-minutes", type=kind, callback=_finite, default=10.0, show_default=True, help=text)


def _seconds(*names: str, default: float, text: str) -> Callable[[Function], Function]:
    """Return an option that takes a duration."""
    kind = click.FloatRange(min=0)
    return option(*names, type=kind, default=default, show_default=True, callback=_finite, help=text)


def _share(*names: str, default: float, text: str) -> Callable[[Function], Function]:
    kind = click.FloatRange(min=0, max=1)
    return option(*names, type=kind, callback=_finite, default=default, show_default=True, help=text)


def strict_option(function: Function) -> Function:
    """Add ``--strict``."""
    return option("--strict", is_flag=True, help="End with status 3 if a clip is quarantined.")(function)


def device_option(function: Function) -> Function:
    """Add ``--device``."""
    return option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")(function)


# --- output ----------------------------------------------------------------------------------------------------------


def say(message: str) -> None:
    """Print a remark on standard error."""
    click.echo(escaped(message, keep="\n"), err=True)


def show(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a command's result on standard output."""
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else escaped(text, keep="\n"))


def escaped(text: str, *, keep: str = "") -> str:
    """Write what a terminal would obey, such as control characters in the name of a file, as escapes."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def next_step(command: str, *words: object) -> str:
    """Give the last line of a command's output: the one to call next, as a shell takes it.

    Its corpus, ``--config``, ``--store``, ``--runs``, ``--run`` and ``--bundle`` are those that this call was given.
    """
    return f"next: {_call(command, *words)}"


def _call(command: str, *words: object) -> str:
    import shlex

    from corpus.files import shown_name

    context, found = click.get_current_context(), cast(click.Command, cli)
    for name in command.split():
        found = cast(click.Group, found).commands[name]
    known = {param.name for param in found.params}
    given = [
        name
        for name in (*_PLACES, "corpus")
        if name in known and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    values = {**context.params, "config": context.meta.get(_CONFIG)}
    places = [word for name in given if name != "corpus" for word in (_PLACES[name], values[name])]
    corpus = [values["corpus"]] if "corpus" in given else []
    return shlex.join(["cli", *command.split(), *(shown_name(str(word)) for word in (*words, *corpus, *places))])


class Bars:
    """Progress bars on a terminal's standard error, one a stage, on anything over a second."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def __call__(
        self, stage: str, done: int, total: int, seconds: float = 0.0, /, *, note: str = "", in_bytes: bool = False
    ) -> None:
        """Move the bar of a stage, which has handled so many seconds of sound where any are given."""
        if not sys.stderr.isatty() or total <= 0:
            return
        bar = self._bars.get(stage)
        if bar is None:
            bar = self._bars[stage] = _open_bytes_bar(stage, done, total) if in_bytes else _open_bar(stage, total)
        bar.total = total
        if seconds:
            note = f"{seconds / max(time.time() - bar.start_t, 1e-3):,.0f}× real time"
        if note:
            bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()
            del self._bars[stage]

    def say(self, message: str) -> None:
        """Print a remark on standard error, above the bars."""
        for bar in self._bars.values():
            bar.clear()
        say(message)

    def close(self) -> None:
        """Leave the terminal clean."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()


def _open_bar(stage: str, total: int) -> Any:
    from tqdm import tqdm

    unit = {"train": " epochs", "predict": " models", "pictures": " pictures"}.get(stage, " clips")
    # The mean since the start: shards end in bursts.
    form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{rate_noinv_fmt}{postfix}, {remaining} left]"
    return tqdm(total=total, desc=stage, unit=unit, delay=1.0, dynamic_ncols=True, smoothing=0, bar_format=form)


def _open_bytes_bar(stage: str, done: int, total: int) -> Any:
    from tqdm import tqdm

    # What an earlier run brought must not count as this one's speed.
    form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}B/{total_fmt}B [{rate_noinv_fmt}, {remaining} left]"
    settings = {"unit": "B", "unit_scale": True, "initial": done, "smoothing": 0.02, "bar_format": form}
    return tqdm(total=total, desc=stage, delay=1.0, dynamic_ncols=True, **settings)


@contextlib.contextmanager
def progress_bars() -> Iterator[Bars]:
    """Give bars, and close them whatever happens."""
    bars = Bars()
    try:
        yield bars
    finally:
        bars.close()


def human_seconds(seconds: float) -> str:
    """Write a duration: 8.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def human_bytes(n_bytes: float) -> str:
    """Write a size: 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def _list_quarantined(quarantined: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"fname": name, "reason": reason} for name, reason in quarantined]


def _finish_strict(strict: bool, quarantined: Sequence[object]) -> None:
    if strict and quarantined:
        raise click.exceptions.Exit(EXIT_QUARANTINED)


# --- commands --------------------------------------------------------------------------------------------------------


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"earmark {version('earmark')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """Tag sounds: spectrograms into a store, k-fold training, predictions.

    \b
    Example:
      cli demo                      everything on a synthetic corpus, in minutes
      cli run data                  the five steps below in one
      cli featurize data            audio files -> LH and X spectrograms
      cli train data                five folds of each view
      cli predict data              submission.csv
      cli evaluate submission.csv data
      cli report data               one HTML file to look at and listen to
    """


@cli.command()
@click.argument("directory", default="demo", type=click.Path(file_okay=False, path_type=Path))
@option("--clips", type=click.IntRange(min=82), default=600, show_default=True, help="Training clips to synthesize.")
@option("--epochs", type=click.IntRange(min=1), default=80, show_default=True, help="Epochs of each network.")
@seed_option(0, seeds="Of the corpus and the training.")
@jobs_option
@common
def demo(directory: Path, clips: int, epochs: int, seed: int, jobs: int | None, as_json: bool) -> None:
    """Run everything on a synthetic corpus, in minutes: from sounds to a score and a submission.

    One LH and one X network are trained, on four fifths of the training clips. What is there already is kept.

    \b
    Example:
      cli demo
      cli demo /tmp/demo --clips 300 --epochs 20
    """
    from corpus.tables import read_corpus

    start = time.monotonic()
    settings: dict[str, Any] = {
        **_RUN_SETTINGS,
        "store": directory / "features",
        "runs": directory / "runs",
        "run_name": f"best-{epochs}-epochs",
        "out": directory / "submission.csv",
        "report_out": directory / "report.html",
        "jobs": jobs,
        "epochs": epochs,
        "pretrained": False,  # those weights have heard this very synthesizer
        "fold": "0",
        "seed": seed,
        "pictured": _DEMO_PICTURED,
    }
    root = directory / "data"
    with progress_bars() as bars:
        stages = RunStages(root, bars, settings)
        with stages.timed("synthesize"):
            _synthesize(root, clips, seed, jobs, bars)
        table = read_corpus(root)
        request = _run_request(table[table["split"] == "train"], settings)
        result = stages.run(table, _all_modes(), request)
    result["seconds"] = round(time.monotonic() - start, 1)
    result |= {**result["test"], "submission": result["out"]}
    show(result, _demo_text(result), as_json=as_json)


def _all_modes() -> "list[FeatureMode]":
    from featurize.modes import resolve_modes

    return resolve_modes(["all"])


@contextlib.contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start
    say(f"{name}: {human_seconds(seconds[name])}")


def _synthesize(root: Path, clips: int, seed: int, jobs: int | None, bars: Bars) -> None:
    from corpus.synth import write_corpus
    from featurize.jobs import count_jobs

    write_corpus(root, clips=clips, seed=seed, jobs=count_jobs(jobs), progress=_stage(bars, "synthesize"))


def _demo_text(result: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"mAP@3 {result['map3']:.3f} ± {result['map3_se']:.3f} over {result['clips']} test clips of "
            f"{len(result['by_class'])} classes (chance: 0.045)",
            _best_and_worst(result["by_class"]),
            f"{result['out']} is the Kaggle CSV, {result['report']} the report;",
            f"{result['path']} holds networks and learning curves",
            human_seconds(result["seconds"]),
            f"next: open {result['report']} in a browser, then cli run YOUR_CORPUS",
        ]
    )


def _best_and_worst(by_class: Mapping[str, float]) -> str:
    from corpus.summary import fit

    best = sorted(by_class, key=lambda name: -by_class[name])
    n_named = min(4, len(best) // 2)
    parts = {"best": best[:n_named], "worst": best[len(best) - n_named :]}
    return "\n".join(fit(f"{title:<6} {', '.join(names)}", 80).rstrip() for title, names in parts.items() if names)


# --- cli run ---------------------------------------------------------------------------------------------------------

_DEMO_PICTURED = 200
_LEAST_MINUTES = 0.01  # every fold trains an epoch
_FIRST_ROUND = "first-round"  # the folder of the networks that judge unverified labels
_RUN_SETTINGS: dict[str, Any] = {  # of train, predict and report, where run has no option for them
    "backend": "loky",
    "scheduler": None,
    "recipe": "best",
    "pretrained": None,
    "label_noise": None,
    "epochs": None,
    "fold": "all",
    "folds": 5,
    "limit_minutes": None,
    "relabel": (),
    "resume": True,
    "force": False,
    "device": "auto",
    "resident": None,
    "pictured": 600,
    "sound_mb": 25.0,
}


def _read_budget(_ctx: click.Context, _param: click.Parameter, text: str | None) -> "Budget | None":
    from cache.errors import InputError
    from train.chosen import read_budget

    try:
        return None if text is None else read_budget(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


@cli.command("run")
@corpus_argument
@option(
    "--budget",
    metavar="30m|2h|8h",
    callback=_read_budget,
    help="Time for all of it: epochs, and if need be folds, are as many as fit.  [default: the recipe's]",
)
@option("--dry-run", is_flag=True, help="Print the plan, with time and disk for each stage, and stop.")
@mode_option
@recipe_options
@option("--epochs", type=click.IntRange(min=1), help="Epochs.  [default: the recipe's]")
@option("--out", type=click.Path(path_type=Path), default="submission.csv", show_default=True, help="CSV to write.")
@option(
    "--report",
    "report_out",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="HTML file to write.",
)
@seed_option(42, seeds="Of folds, weights and draws.")
@store_option
@runs_options
@device_option
@parallel_options
@strict_option
@common
def run_all(
    corpus: Path,
    modes: "tuple[FeatureMode, ...]",
    budget: "Budget | None",
    dry_run: bool,
    strict: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Do all that the competition asks: featurize, train all folds and views, predict, evaluate, report.

    The views are LH and X, or those of --mode. The plan is printed first. A call that was stopped goes on where it was,
    and one that finds everything done does nothing. With --budget, and no --run, the run is named after both (best-2h).

    \b
    Example:
      cli corpus fetch data && cli run data
      cli run data --dry-run
      cli run data --budget 2h
    """
    from cache.errors import CorpusError
    from corpus.tables import read_corpus
    from train.hold import hold_folder

    start = time.monotonic()
    if budget and settings["epochs"]:
        message = f"--budget {budget.text} chooses the epochs: leave out --epochs {settings['epochs']}"
        raise click.UsageError(message)
    if settings["out"].absolute() == settings["report_out"].absolute():
        message = f"--out and --report must be two files; both are {settings['out']}"
        raise click.BadParameter(message)
    clips = read_corpus(corpus)
    training = clips[(clips["split"] == "train") & clips["label"].notna()]
    if training.empty:
        message = f"{corpus} has no training clips: a run trains networks; cli predict predicts with those of another"
        raise CorpusError(message)
    _check_run_outputs(corpus, clips, settings)
    settings = _RUN_SETTINGS | settings
    if budget and settings["run_name"] is None:
        settings["run_name"] = f"{settings['recipe']}-{budget.text}"
    request = _run_request(training, settings)
    # What else the store holds does not count: the same call is to mean the same run.
    chosen = _training_modes(settings["store"], modes or _all_modes(), training)
    with progress_bars() as bars:
        forecast, request = _forecast(clips, chosen, request, budget, bars, settings, started=start)
        text = _forecast_text(forecast, corpus)
        if dry_run:
            show(forecast.to_dict() | {"dry_run": True}, text, as_json=as_json)
            _say_space(forecast, request.folder, settings)
            return
        say(f"{text}\n")
        _say_space(forecast, request.folder, settings)
        with hold_folder(request.folder, held_by="another cli run works on"):
            within = _within(budget, forecast, request, started=start) if budget else {}
            result = RunStages(corpus, bars, settings).run(clips, chosen, request, train_settings=within)
    result |= {"plan": forecast.to_dict(), "seconds": round(time.monotonic() - start, 1)}
    show(result, _run_text(result), as_json=as_json)
    _finish_strict(strict, result["quarantined"])


def _check_run_outputs(corpus: Path, clips: "pd.DataFrame", settings: dict[str, Any]) -> None:
    """Refuse files of a run that cannot be written, or would take the place of something else."""
    from cache.outfile import check_out
    from infer.replacement import check_recordings, check_report, check_table

    out = settings["out"]
    check_out(out, force=True)
    classes = sorted(clips.loc[clips["split"] == "train", "label"].dropna().unique())
    check_table(out, corpus, columns=["fname", *(classes if any(" " in name for name in classes) else ["label"])])
    check_report(settings["report_out"], corpus)
    check_recordings(settings["report_out"], clips)


def _say_space(forecast: "RunForecast", run: Path, settings: dict[str, Any]) -> None:
    """Say where the disk is going to be full; what is foretold is no reason to refuse a run."""
    from cache.space import free_space

    n_bytes = {stage.name: stage.n_bytes for stage in forecast.stages}
    there = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    needs = [
        (settings["store"], n_bytes["featurize"]),
        (settings["runs"], max(0, n_bytes["train"] - there)),
        (settings["report_out"].absolute().parent, n_bytes["report"]),
    ]
    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs:
        place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        disk = place.stat().st_dev
        first, before = disks.get(disk, (folder, 0))
        disks[disk] = first, before + needed
    for folder, needed in disks.values():
        if needed > (free := free_space(folder)):
            say(
                f"the disk of {folder} has {human_bytes(free)} free, and {human_bytes(needed)} are foretold: "
                "make room, or name other folders with --store and --runs"
            )


def _within(budget: "Budget", forecast: "RunForecast", request: "RunRequest", *, started: float) -> dict[str, Any]:
    """Note what was chosen for a budget, and give what makes training end in time for the stages after it."""
    from train.budget import Choice
    from train.chosen import write_choice

    write_choice(request.folder, budget, Choice(forecast.epochs, forecast.folds, 0.0))
    return {
        "deadline": started + budget.seconds - forecast.after_training(),
        "fold_seconds": {
            mode: cost["start_seconds"] + forecast.epochs * cost["epoch_seconds"]
            for mode, cost in forecast.training.items()
        },
    }


class RunStages:
    """The stages of a run, one after the other, with their times; what is done is kept."""

    def __init__(self, corpus: Path, bars: Bars, settings: dict[str, Any]) -> None:
        self.corpus, self.bars, self.settings = corpus, bars, settings
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[list[str]]:
        """Time a stage, and say so in a line, with what the stage adds to the list."""
        words: list[str] = []
        start = time.monotonic()
        yield words
        self.seconds[name] = time.monotonic() - start
        self.bars.say(f"{name}: {'; '.join([*words, human_seconds(self.seconds[name])])}")

    def run(
        self,
        clips: "pd.DataFrame",
        modes: "Sequence[FeatureMode]",
        request: "RunRequest",
        *,
        train_settings: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Do all stages that are not done."""
        with self.timed("featurize") as words:
            reports, quarantined = _compute(clips, modes, self.bars, self.settings)
            if not any(report.computed for report in reports.values()):
                words.append("all there")
        with self.timed("train") as words:
            results = self._train(clips, reports, request, self.settings | dict(train_settings or {}))
            kept = sum(bool(row.get("kept")) for row in results)
            words.append(f"{kept} of {len(results)} folds were there" if kept else f"{len(results)} folds")
        run, names = request.folder, [mode.name for mode in modes if mode.name in {row["mode"] for row in results}]
        with self.timed("predict") as words:
            predicted, remark = self._predict(clips, reports, run, names)
            words += remark
        with self.timed("evaluate"):
            scores = self._evaluate(clips, run, names)
        with self.timed("report") as words:
            words += self._report(clips, reports, run, names, predicted, quarantined)
        test = int((clips["split"] == "test").sum())
        return {
            "run": run.name,
            "path": str(self.settings["runs"] / run.name),
            "modes": _mode_results(reports),
            "runs": results,
            **scores,
            "out": str(self.settings["out"]) if test else None,
            "report": str(self.settings["report_out"]),
            "quarantined": _list_quarantined(quarantined),
            "stages": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }

    def _train(
        self,
        clips: "pd.DataFrame",
        reports: "Mapping[str, ModeReport]",
        request: "RunRequest",
        settings: dict[str, Any],
    ) -> list[dict[str, Any]]:
        started = time.monotonic()
        if "deadline" in settings:
            settings["limit_minutes"] = max(_LEAST_MINUTES, (settings["deadline"] - started) / 60)
        training = clips[(clips["split"] == "train") & clips["label"].notna()]
        readers = _readers(reports, set(training["fname"]))
        if request.folds is None and _takes_two_rounds(training, request):
            request = _first_round(training, readers, request, self.bars, settings, started=started)
        results = _train(training, readers, request, self.bars, settings, started=started)
        if stopped := sum(row["epochs"] < request.recipe.epochs for row in results):
            self.bars.say(f"{stopped} of {len(results)} folds were stopped by the budget; call again to go on")
        return results

    def _predict(
        self, clips: "pd.DataFrame", reports: "Mapping[str, ModeReport]", run: Path, names: Sequence[str]
    ) -> "tuple[dict[str, pd.DataFrame], list[str]]":
        """Predict the test clips in each view, unless the submission is there as these very networks made it."""
        from infer.outputs import digest_sources, is_made, note_made
        from infer.submission import write_csv

        test, out = clips[clips["split"] == "test"], self.settings["out"]
        if test.empty:
            return {}, ["the corpus has no test clips"]
        fnames = test["fname"].tolist()
        made_from = digest_sources(run, _keys(reports, set(fnames)), names, fnames)
        if is_made(run, "submission", out, made_from):
            return {}, [f"{out} is there, as these networks made it"]
        predicted = self._views(fnames, reports, run, names)
        joined = list(predicted.values())[-1]
        spaced = any(" " in name for name in joined.columns)
        write_csv(joined if spaced else _submission(joined, self.corpus, test), out)
        note_made(run, "submission", out, made_from)
        return predicted, [f"{out} holds probabilities, as a class's name holds a space"] if spaced else []

    def _views(
        self, fnames: list[str], reports: "Mapping[str, ModeReport]", run: Path, names: Sequence[str]
    ) -> "dict[str, pd.DataFrame]":
        from infer.runs import load_run

        readers = {mode: reader for mode, (_, reader) in _readers(reports).items()}
        return _predict_views(fnames, readers, load_run(run, names), self.bars, self.settings)

    def _evaluate(self, clips: "pd.DataFrame", run: Path, names: Sequence[str]) -> dict[str, Any]:
        """Score the clips that were held out and, where they have labels, the test clips."""
        from infer.evaluate import evaluate as score_file
        from infer.evaluate import rank, score
        from infer.oof import read_out_of_fold

        held = read_out_of_fold(run, names).probabilities
        held = held[held["fname"].isin(clips.loc[clips["split"] == "train", "fname"])]
        test = clips[(clips["split"] == "test") & clips["label"].notna()]
        labelled = bool((test["usage"] != "Ignored").fillna(value=True).any())
        return {
            "out_of_fold": score(rank(held), clips[clips["split"] == "train"], source=str(run)),
            "test": score_file(self.settings["out"], clips) if labelled else None,
        }

    def _report(
        self,
        clips: "pd.DataFrame",
        reports: "Mapping[str, ModeReport]",
        run: Path,
        names: Sequence[str],
        predicted: "dict[str, pd.DataFrame]",
        quarantined: Sequence[tuple[str, str]],
    ) -> list[str]:
        """Write the report, unless it is there as these very networks and labels made it; give remarks."""
        from corpus.files import shown_name
        from infer.outputs import digest_sources, is_made, note_made
        from infer.report import read_views

        # Without a place to keep its caches matplotlib warns of the time it loses, which nobody here can use.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        out = self.settings["report_out"]
        labels = clips[["fname", "split", "label", "manually_verified", "usage"]].to_csv(index=False)
        made_from = digest_sources(run, _keys(reports), names, labels, self.settings["pictured"])
        if is_made(run, "report", out, made_from):
            return [f"{out} is there, as these networks made it"]
        test = clips.loc[clips["split"] == "test", "fname"].tolist()
        predicted = predicted or (self._views(test, reports, run, names) if test else {})
        name = shown_name(self.corpus.resolve().name)
        made = _make_report(
            clips, run, name, read_views(run, names), predicted, quarantined, dict(self.seconds), self.settings
        )
        readers = {mode: reader for mode, (_, reader) in _readers(reports).items()}
        _write_page(made, readers, out, self.bars, self.settings)
        note_made(run, "report", out, made_from)
        return []


def _keys(reports: "Mapping[str, ModeReport]", names: "Container[str] | None" = None) -> "list[Key]":
    return [key for report in reports.values() for key in report.keys if names is None or key.name in names]


def _forecast(
    clips: "pd.DataFrame",
    modes: "Sequence[FeatureMode]",
    request: "RunRequest",
    budget: "Budget | None",
    bars: Bars,
    settings: dict[str, Any],
    *,
    started: float,
) -> "tuple[RunForecast, RunRequest]":
    """Measure and reckon what there is to do, and choose what fits the budget; an earlier call's choice stays."""
    from featurize.jobs import count_jobs
    from featurize.sources import measure_all
    from infer.forecast import network_seconds, report_stage
    from train.budget import Choice, choose
    from train.chosen import read_choice, with_choice
    from train.forecast import is_trained, measure_training

    places = {key: settings[key] for key in ("backend", "scheduler")}
    featurizer = _featurizer(modes, bars, store=settings["store"], jobs=settings["jobs"], **places)
    work = featurizer.plan(clips, time_it=True)
    seconds = measure_all(work.sources, jobs=count_jobs(settings["jobs"]))
    lengths = dict(zip(clips["fname"], seconds, strict=True))
    task = _training_task(clips, modes, request, lengths, settings)
    earlier = read_choice(request.folder, budget)
    choice = earlier or Choice(request.recipe.epochs, task.n_folds, 0.0)
    request = with_choice(request, choice, n_folds=task.n_folds)
    if earlier or not budget:
        _check_begun(clips, featurizer, work, request)
    measured = None if is_trained(request, task) else measure_training(task, request, **places)
    rates = measured.frame_seconds if measured else {}
    test = [lengths[name] for name in clips.loc[clips["split"] == "test", "fname"]]
    by_fold = network_seconds(modes, test, rates) / task.workers
    shown = report_stage(
        len(clips),
        pictured=settings["pictured"],
        mean_seconds=sum(seconds) / len(seconds),
        sound_bytes=int(settings["sound_mb"] * 1e6),
    )
    if measured and budget and not earlier:
        choice = choose(
            measured.cost,
            budget_seconds=budget.seconds,
            epochs=request.recipe.epochs,
            other_seconds=time.monotonic() - started + work.seconds + shown.seconds,
            fold_seconds=by_fold,
        )
        request = with_choice(request, choice, n_folds=task.n_folds)
        _check_begun(clips, featurizer, work, request)
    predicting = by_fold * choice.folds
    stages = _forecast_stages(work, measured, choice, request, len(test), predicting, shown, settings)
    forecast = _run_forecast(clips, sum(seconds), task, request, choice, stages, measured, budget)
    return forecast, request


def _check_begun(clips: "pd.DataFrame", featurizer: "Featurizer", work: "FeaturizePlan", request: "RunRequest") -> None:
    """Refuse a run that was begun otherwise; a mode with clips to compute may have frames of any of them."""
    import dataclasses

    from train.plan import check_begun

    training = clips[(clips["split"] == "train") & clips["label"].notna()]
    names = set(training["fname"])
    lacking = {
        mode.name
        for task in work.tasks
        for mode, _, shard in task.outputs
        if any(key.name in names for key in shard.keys)
    }
    keys = {
        mode: [key for key in found if key.name in names]
        for mode, found in featurizer.stored_keys(work).items()
        if mode not in lacking
    }
    check_begun(training, featurizer.modes, keys, request)
    if request.folds is None and _takes_two_rounds(training, request):
        first = dataclasses.replace(
            request, folder=request.folder / _FIRST_ROUND, recipe=request.recipe.for_first_round()
        )
        check_begun(training, featurizer.modes, keys, first)


def _training_task(
    clips: "pd.DataFrame",
    modes: "Sequence[FeatureMode]",
    request: "RunRequest",
    lengths: Mapping[str, float],
    settings: dict[str, Any],
) -> "TrainingTask":
    from train.folds import assign_folds
    from train.forecast import TrainingTask

    training = clips[(clips["split"] == "train") & clips["label"].notna()]
    n_folds = int(assign_folds(training, n_folds=request.n_folds, seed=request.seed).max()) + 1
    workers, threads = _training_workers(request.device, settings["jobs"], n_folds * len(modes))
    two = _takes_two_rounds(training, request)
    return TrainingTask(
        modes=modes,
        clip_seconds=[lengths[name] for name in training["fname"]],
        n_classes=training["label"].nunique(),
        n_folds=n_folds,
        workers=workers,
        threads=threads,
        first_round=request.recipe.first_round if two and not (request.folder / "relabel.csv").exists() else 0.0,
    )


def _forecast_stages(
    work: "FeaturizePlan",
    measured: "Measured | None",
    choice: "Choice",
    request: "RunRequest",
    n_test: int,
    predicting: float,
    shown: "Stage",
    settings: dict[str, Any],
) -> "list[Stage]":
    """Give a row for each stage; what is there and will be kept takes nothing."""
    from corpus.rows import counted
    from infer.forecast import Stage, predict_stage
    from infer.outputs import was_made

    n_networks = choice.folds * len(work.todo)
    todo = sum(len(task.sources) for task in work.tasks)
    counts = f"{todo:,} clips, {' and '.join(work.todo)}" if todo else f"{len(work.sources):,} clips, all there"
    stages = [Stage("featurize", counts, work.seconds, work.n_bytes)]
    if measured:
        epochs, first = choice.epochs, measured.cost.first_epochs(choice.epochs, choice.folds)
        rounds = f"{first} + {epochs} epochs" if first else counted(epochs, "epoch")
        what = f"{n_networks} folds of {rounds}"
        seconds, n_bytes = measured.cost.seconds(epochs, choice.folds), measured.cost.n_bytes(choice.folds)
        stages.append(Stage("train", what, seconds, n_bytes))
    else:
        stages.append(Stage("train", f"{n_networks} folds, all trained"))
    changed = measured is not None or todo > 0
    if not n_test:
        stages.append(Stage("predict", "no test clips"))
    elif changed or not was_made(request.folder, "submission", settings["out"]):
        stages.append(predict_stage(n_test, n_networks=n_networks, seconds=predicting))
    else:
        stages.append(Stage("predict", f"{settings['out']} is there"))
    made = not changed and was_made(request.folder, "report", settings["report_out"])
    return [*stages, Stage("report", f"{settings['report_out']} is there") if made else shown]


def _run_forecast(
    clips: "pd.DataFrame",
    sound_seconds: float,
    task: "TrainingTask",
    request: "RunRequest",
    choice: "Choice",
    stages: "list[Stage]",
    measured: "Measured | None",
    budget: "Budget | None",
) -> "RunForecast":
    from infer.forecast import RunForecast

    return RunForecast(
        clips={split: int((clips["split"] == split).sum()) for split in ("train", "test")},
        hours=sound_seconds / 3600,
        classes=task.n_classes,
        folds=choice.folds,
        epochs=choice.epochs,
        first_round_epochs=measured.cost.first_epochs(choice.epochs, choice.folds) if measured else 0,
        run=request.folder.name,
        recipe=request.recipe.name,
        modes=[mode.name for mode in task.modes],
        stages=stages,
        training={name: cost.to_dict() for name, cost in measured.cost.folds.items()} if measured else {},
        workers=task.workers,
        budget_seconds=budget.seconds if budget else None,
    )


def _forecast_text(forecast: "RunForecast", corpus: Path) -> str:
    from corpus.rows import counted
    from corpus.summary import fit

    clips = forecast.clips
    lines = [
        f"{corpus}: {clips['train']:,} training and {clips['test']:,} test clips, {forecast.hours:.1f} h, "
        f"{forecast.classes} classes",
        f"run {forecast.run}: recipe {forecast.recipe}, {' and '.join(forecast.modes)}, "
        f"{counted(forecast.folds, 'fold')} of each, {counted(forecast.workers, 'fold')} at a time",
    ]
    if forecast.budget_seconds:
        chosen = f"{counted(forecast.epochs, 'epoch')} of {counted(forecast.folds, 'fold')}"
        lines.append(f"budget {human_seconds(forecast.budget_seconds)}: {chosen} of each view")
    lines += ["", f"{'stage':<10} {'':<40} {'time':>14} {'disk':>10}"]
    rows = [(each.name, each.what, each.seconds, each.n_bytes) for each in forecast.stages]
    for name, what, seconds, n_bytes in [*rows, ("in all", "", forecast.seconds, forecast.n_bytes)]:
        lines.append(f"{name:<10} {fit(what, 40)} {human_seconds(seconds):>14} {human_bytes(n_bytes):>10}")
    return "\n".join(lines)


def _run_text(result: Mapping[str, Any]) -> str:
    held, test = result["out_of_fold"], result["test"]
    error = f" ± {held['map3_se']:.3f}" if held["map3_se"] is not None else ""
    lines = [f"held out  mAP@3 {held['map3']:.3f}{error}   {held['clips']} training clips"]
    if test:
        lines += [
            *_score_lines(test),
            *filter(None, [_best_and_worst(test["by_class"])]),
            *_reference_lines(test["references"]),
        ]
    lines.append("")
    if result["out"]:
        lines.append(f"{result['out']} is the submission" + ("" if test else "; the corpus has no labels to score it"))
    lines.append(f"{result['report']} is the report, {result['path']} holds networks and learning curves")
    lines += [human_seconds(result["seconds"]), f"next: open {result['report']} in a browser"]
    return "\n".join(lines)


@cli.group()
def corpus() -> None:
    """Look at a corpus, get the competition's, or make a synthetic one."""


@corpus.command("synth")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@option(
    "--clips",
    type=click.IntRange(min=82),
    default=1500,
    show_default=True,
    help="Training clips; test clips come on top, as many as in the competition's proportion.",
)
@seed_option(0, seeds="Every clip follows from it.")
@jobs_option
@common
def corpus_synth(directory: Path, clips: int, seed: int, jobs: int | None, as_json: bool) -> None:
    """Write a synthetic corpus of all 41 classes, in FSDKaggle2018's layout.

    \b
    Example:
      cli corpus synth data --clips 600
    """
    from corpus.synth import write_corpus
    from featurize.jobs import count_jobs

    start = time.monotonic()
    with progress_bars() as bars:
        write_corpus(directory, clips=clips, seed=seed, jobs=count_jobs(jobs), progress=_stage(bars, "synthesize"))
    seconds = round(time.monotonic() - start, 2)
    text = f"{directory}: {clips} training clips and their test clips in {human_seconds(seconds)}"
    text += f"\n{next_step('featurize', directory)}"
    show({"corpus": str(directory), "clips": clips, "seed": seed, "seconds": seconds}, text, as_json=as_json)


def _stage(bars: Bars, name: str) -> Callable[[int, int], None]:
    return lambda done, total: bars(name, done, total)


def _check_url(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    from cache.errors import InputError
    from corpus.fetch import check_mirror

    if value is not None:
        try:
            check_mirror(value)
        except InputError as error:
            raise click.BadParameter(str(error)) from error
    return value


@corpus.command("fetch")
@click.argument("corpus", metavar="[DIR]", default="data", envvar="EARMARK_CORPUS", type=click.Path(path_type=Path))
@option(
    "--from",
    "from_folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    envvar="EARMARK_FROM",
    help="Unpack the archives that lie there, Zenodo's or Kaggle's, and download nothing.",
)
@option("--url", callback=_check_url, help="Address of a folder with Zenodo's archives.  [default: Zenodo]")
@option("--keep-archives", is_flag=True, help="Keep what was downloaded, in DIR, once it is unpacked.")
@option("--jobs", type=click.IntRange(min=1), default=4, show_default=True, help="Archives in work at a time.")
@common
def corpus_fetch(
    corpus: Path, from_folder: Path | None, url: str | None, keep_archives: bool, jobs: int, as_json: bool
) -> None:
    """Download FSDKaggle2018 from Zenodo, check it and unpack it.

    DIR defaults to data. It is 4.6 GB to download and 6.4 GB unpacked. A run that was stopped goes on where it was, and
    one that finds everything there does nothing. An archive that lies in DIR, or in the FOLDER of --from, is taken
    instead of a download: Zenodo's four, or Kaggle's audio_train.zip, audio_test.zip and tables, or its one
    freesound-audio-tagging.zip.

    \b
    Example:
      cli corpus fetch data
      cli corpus fetch data --from ~/Downloads
    """
    from corpus.archives import ZENODO
    from corpus.fetch import fetch_corpus
    from corpus.supplied import find_supplied
    from corpus.tables import read_corpus

    if from_folder is not None and (url or keep_archives):
        message = f"--from {from_folder} downloads nothing: leave out {'--url' if url else '--keep-archives'}"
        raise click.UsageError(message)
    start = time.monotonic()
    with progress_bars() as bars:
        fetched = fetch_corpus(
            corpus,
            archives=ZENODO,
            at_hand=None if from_folder is None else find_supplied(from_folder, ZENODO),
            mirror=url,
            keep_archives=keep_archives,
            jobs=jobs,
            progress=functools.partial(bars, in_bytes=True),
            say=bars.say,
        )
    table = read_corpus(corpus)
    result = _fetch_result(corpus, table, fetched) | {"seconds": round(time.monotonic() - start, 2)}
    if table.attrs["layout"] == "kaggle" and any(item.action != "kept" for item in fetched):
        say("checked by sizes, CRC-32 and the tables' rows: of Kaggle's files no MD5 is published")
    show(result, _fetch_text(result), as_json=as_json)


def _fetch_result(corpus: Path, table: "pd.DataFrame", fetched: "Sequence[Fetched]") -> dict[str, Any]:
    import dataclasses

    return {
        "corpus": str(corpus),
        "layout": table.attrs["layout"],
        "archives": [dataclasses.asdict(item) for item in fetched],
        "clips": {split: int((table["split"] == split).sum()) for split in ("train", "test")},
        "downloaded_bytes": sum(item.downloaded_bytes for item in fetched),
    }


def _fetch_text(result: dict[str, Any]) -> str:
    from corpus.rows import counted

    lines = []
    for row in result["archives"]:
        came = f"downloaded {human_bytes(row['downloaded_bytes'])}, " if row["action"] == "downloaded" else ""
        verb = "kept" if row["action"] == "kept" else "unpacked"
        what = f" {counted(row['files'], 'file')}, {human_bytes(row['unpacked_bytes'])}" if row["files"] else ""
        lines.append(f"{row['name']}: {came}{verb}{what}")
    clips = result["clips"]
    counts = f"{counted(clips['train'], 'training clip')} and {counted(clips['test'], 'test clip')}"
    lines.append(f"{result['corpus']}: {counts}; {human_seconds(result['seconds'])}")
    return "\n".join([*lines, f"next: cli run {result['corpus']}"])


@corpus.command("info")
@corpus_argument
@common
def corpus_info(corpus: Path, as_json: bool) -> None:
    """Count clips, hours and classes, and list what is wrong.

    \b
    Example:
      cli corpus info data
    """
    from corpus.summary import format_summary, summarize
    from corpus.tables import read_corpus

    with progress_bars() as bars:
        summary = summarize(read_corpus(corpus), progress=_stage(bars, "headers"))
    following = f"{next_step('run')}, or step by step: {_call('featurize')}"
    show(summary, f"{format_summary(summary)}\n{following}", as_json=as_json)


@corpus.command("issues")
@corpus_argument
@mode_name_option
@runs_options
@relabel_option("Labels to judge in place of the corpus's")
@option("--include-verified", is_flag=True, help="List clips that were verified by hand, too.")
@option("--top", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to show.")
@option("--out", type=click.Path(path_type=Path), default="issues.csv", show_default=True, help="CSV to write.")
@option("--propose", metavar="CSV", type=click.Path(path_type=Path), help="Also write a file for cli train --relabel.")
@_share("--verify-above", default=0.95, text="Propose to trust a label that is likelier than this.")
@option(
    "--verify-at-most", type=click.IntRange(min=0), default=40, show_default=True, help="Clips a class to trust so."
)
@_share("--relabel-above", default=0.8, text="Propose the class suggested where it is likelier than this.")
@_share(
    "--leave-out-below",
    default=0.2,
    text="Propose to leave out other labels whose p is below this share of the class's usual one.",
)
@option("--force", is_flag=True, help="Replace files that are there.")
@common
def corpus_issues(
    corpus: Path, modes: tuple[str, ...], runs: Path, run_name: str | None, as_json: bool, **settings: Any
) -> None:
    """List the likeliest label errors, best first, by what a run's networks say of clips they were not trained on.

    A clip is listed whose networks are as sure of another class as they are, on average, of the clips labelled so.
    Without --mode: all modes of the run, joined. The CSV has the columns fname, label, suggested, p_label,
    p_suggested, score (by how much another class is likelier) and manually_verified. The corpus is not changed:
    correct the column label and train with --relabel.

    --propose writes what training could do with each clip that is not verified: trust it, give it another label, leave
    it out or keep it. Clips that a --relabel file names are left to that file.

    \b
    Example:
      cli corpus issues data
      cli corpus issues data --run best --propose relabel.csv
      cli train data --relabel relabel.csv --run relabelled
    """
    from corpus.rows import counted
    from corpus.tables import read_corpus
    from infer.oof import read_out_of_fold
    from infer.runs import find_run
    from infer.submission import write_csv
    from train.issues import judge_labels, list_issues

    _check_new(settings["out"], settings["propose"], force=settings["force"])
    clips = read_corpus(corpus)
    clips = clips[(clips["split"] == "train") & clips["label"].notna()]
    predicted = read_out_of_fold(find_run(runs, run_name), modes)
    relabelled, named = _relabelled(clips, settings["relabel"])
    unheard = predicted.unheard(relabelled)
    judged = judge_labels(relabelled, predicted.probabilities, unheard=unheard)
    issues = list_issues(judged, include_verified=settings["include_verified"])
    _say_unpredicted(clips, predicted)
    if unheard:
        told = counted(len(unheard), "training clip")
        say(f"not judged, as their networks were trained without their class: {told}")
    write_csv(issues.assign(manually_verified=issues["manually_verified"].astype("Int64")), settings["out"])
    result = _issues_result(judged, issues, clips, predicted, settings)
    if settings["propose"]:
        result["proposed"] = _propose(judged[~judged["fname"].isin(named)], settings)
    show(result, _issues_text(result, corpus, settings), as_json=as_json)


def _check_new(out: Path, propose: Path | None, *, force: bool) -> None:
    from cache.outfile import check_out

    paths = [out] if propose is None else [out, propose]
    for path in paths:
        check_out(path, force=force)
    if propose is not None and out.absolute() == propose.absolute():
        message = f"--out and --propose must be two files; got {out} for both"
        raise click.UsageError(message)


def _relabelled(clips: "pd.DataFrame", paths: Sequence[Path]) -> "tuple[pd.DataFrame, pd.Series[str]]":
    """Give the clips with the labels to judge, and the names of those that a file is about."""
    from corpus.relabel import apply_relabels

    relabels = _read_relabels(paths, clips)
    if relabels is None:
        return clips, clips["fname"].iloc[:0]
    return apply_relabels(clips, relabels), relabels["fname"]


def _say_unpredicted(clips: "pd.DataFrame", predicted: "OutOfFold") -> None:
    from corpus.rows import counted

    missing = int((~clips["fname"].isin(predicted.probabilities["fname"])).sum())
    gaps = [f"fold {fold} of {mode}" for mode, folds in predicted.missing.items() for fold in folds]
    if gaps:
        say(f"not trained: {', '.join(gaps)}")
    if missing:
        say(f"without a prediction, and not judged: {missing:,} of {counted(len(clips), 'training clip')}")


def _issues_result(
    judged: "pd.DataFrame",
    issues: "pd.DataFrame",
    clips: "pd.DataFrame",
    predicted: "OutOfFold",
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Give what ``--json`` prints; counts are clips."""
    verified = int(judged["manually_verified"].fillna(value=False).sum())
    rows = issues.head(settings["top"])
    return {
        "out": str(settings["out"]),
        "clips": len(clips),
        "predicted": int(clips["fname"].isin(predicted.probabilities["fname"]).sum()),
        "judged": len(judged) - (0 if settings["include_verified"] else verified),
        "folds": predicted.folds,
        "issues": len(issues),
        "top": json.loads(rows.to_json(orient="records")),
    }


def _propose(judged: "pd.DataFrame", settings: dict[str, Any]) -> dict[str, Any]:
    """Write the proposal, and give its file and counts."""
    from infer.submission import write_csv
    from train.proposal import ProposalRules, count_actions, propose

    names = ("verify_above", "verify_at_most", "relabel_above", "leave_out_below")
    proposal = propose(judged, ProposalRules(**{name: settings[name] for name in names}))
    write_csv(proposal, settings["propose"])
    return {"out": str(settings["propose"]), "clips": len(proposal), **count_actions(proposal)}


def _issues_text(result: dict[str, Any], corpus: Path, settings: dict[str, Any]) -> str:
    import shlex

    from corpus.rows import counted
    from corpus.summary import fit

    lines = [f"{fit('clip', 25)} {fit('label', 19)} {fit('suggested', 19)} p(lab) p(sug)"] if result["top"] else []
    for row in result["top"]:
        names = f"{fit(row['fname'], 25)} {fit(row['label'], 19)} {fit(row['suggested'], 19)}"
        lines.append(f"{names} {row['p_label']:>6.2f} {row['p_suggested']:>6.2f}")
    kind = "" if settings["include_verified"] else "unverified "
    errors = counted(result["issues"], "likely label error")
    lines.append(f"{errors} among {counted(result['judged'], kind + 'clip')} -> {result['out']}")
    proposed = result.get("proposed")
    if proposed:
        lines.append(
            f"{proposed['out']}: trust {proposed['verify']}, relabel {proposed['relabel']}, "
            f"leave out {proposed['leave_out']}, keep {proposed['keep']} of {proposed['clips']} unverified clips"
        )
    if proposed or result["issues"]:
        files = [*map(str, settings["relabel"]), proposed["out"] if proposed else result["out"]]
        if not proposed:
            lines.append("listen to them, and correct the column label")
        relabel = " ".join(f"--relabel {shlex.quote(name)}" for name in files)
        lines.append(f"next: cli train {shlex.quote(str(corpus))} {relabel} --run NAME")
    else:
        lines.append(next_step("report"))
    return "\n".join(lines)


@cli.command()
@corpus_argument
@mode_option
@store_option
@parallel_options
@dtype_option
@option("--dry-run", is_flag=True, help="Print what there is to do, its size and time, and stop.")
@option("--wait", is_flag=True, help="Wait for another run that holds the store.")
@longest_option("Longer clips are quarantined.")
@strict_option
@common
def featurize(
    corpus: Path, modes: "tuple[FeatureMode, ...]", dry_run: bool, strict: bool, as_json: bool, **settings: Any
) -> None:
    """Compute the spectrograms of a corpus into the store.

    What is there already is kept; a clip whose file has changed is computed anew. Without --mode: LH and X. Modes of
    your own are tables of the --config file: [modes.bark] with base = "log" and n_mels = 96, say.

    \b
    Example:
      cli featurize data
      cli featurize --mode lh --jobs 4
      cli featurize data --dry-run
      cli featurize data --config earmark.toml --mode bark
    """
    from corpus.tables import read_corpus

    chosen = _in_dtype(modes, settings.pop("dtype"))
    clips = read_corpus(corpus)
    with progress_bars() as bars:
        featurizer = _featurizer(chosen, bars, **settings)
        if dry_run:
            _show_plan(featurizer, clips, as_json=as_json)
            return
        start = time.monotonic()
        reports = featurizer.run(clips)
    seconds = round(time.monotonic() - start, 2)
    show({"modes": _mode_results(reports), "seconds": seconds}, _featurize_text(reports, seconds), as_json=as_json)
    _finish_strict(strict, [row for report in reports.values() for row in report.quarantined])


def _featurizer(
    modes: "Sequence[FeatureMode]", bars: Bars, *, store: Path, jobs: int | None, **settings: Any
) -> "Featurizer":
    from featurize.batch import Featurizer
    from featurize.jobs import count_jobs

    return Featurizer(store, modes, jobs=count_jobs(jobs), progress=bars, remark=bars.say, **settings)


def _show_plan(featurizer: "Featurizer", clips: "pd.DataFrame", *, as_json: bool) -> None:
    plan = featurizer.plan(clips, time_it=True)
    modes: dict[str, dict[str, Any]] = {
        mode.name: {
            "store": str(featurizer.store / mode.folder),
            "clips": len(clips),
            "to_compute": plan.todo[mode.name],
            "kept": plan.kept[mode.name],
            "notes": plan.notes[mode.name],
        }
        for mode in featurizer.modes
    }
    lines = [f"{name}: {row['to_compute']} to compute, {row['kept']} kept" for name, row in modes.items()]
    lines += [f"{name}: {note}" for name, row in modes.items() for note in row["notes"]]
    lines.append(f"expected: {human_bytes(plan.n_bytes)} on disk, {human_seconds(plan.seconds)}")
    lines.append("next: the same without --dry-run")
    result = {"modes": modes, "bytes": plan.n_bytes, "expected_seconds": round(plan.seconds, 1), "dry_run": True}
    show(result, "\n".join(lines), as_json=as_json)


def _mode_results(reports: "dict[str, ModeReport]") -> dict[str, Any]:
    return {
        name: {
            "store": str(report.store),
            "clips": report.clips,
            "computed": report.computed,
            "kept": report.kept,
            "quarantined": _list_quarantined(report.quarantined),
            "notes": report.notes,
        }
        for name, report in reports.items()
    }


def _featurize_text(reports: "dict[str, ModeReport]", seconds: float) -> str:
    from corpus.rows import counted

    lines = []
    for name, report in reports.items():
        lines += [f"{name}: {note}" for note in report.notes]
        counts = f"{report.computed} computed, {report.kept} kept, {len(report.quarantined)} quarantined"
        lines.append(f"{name}: {counted(report.clips, 'clip')}: {counts} -> {report.store}")
    problems = {name: reason for report in reports.values() for name, reason in report.quarantined}
    lines += [f"quarantined: {escaped(name)}: {reason}" for name, reason in problems.items()]
    return "\n".join([*lines, human_seconds(seconds), next_step("train", *_name_own_modes(list(reports)))])


def _name_own_modes(names: Sequence[str]) -> list[str]:
    """Give the options that train needs for modes of one's own, which it does not know by itself."""
    own: dict[str, FeatureMode] = click.get_current_context().meta.get(_OWN_MODES, {})
    return [word for name in names for word in ("--mode", name)] if set(names) & set(own) else []


@cli.command()
@corpus_argument
@mode_option
@option("--fold", "fold", default="all", show_default=True, metavar="K|all", help="Fold to train, from 0.")
@recipe_options
@option(
    "--label-noise",
    type=click.Choice(["on", "off"]),
    help="Reckon with wrong labels among those that nobody verified.  [default: the recipe's, on for best]",
)
@option("--epochs", type=click.IntRange(min=1), help="Epochs.  [default: the recipe's]")
@option(
    "--limit-minutes",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    help="Stop in this time; --resume goes on.",
)
@relabel_option("Other labels to train on")
@option(
    "--resident/--no-resident",
    default=None,
    help="Keep frames in the GPU's memory.  [default: where they take up to half of what is free]",
)
@option("--resume", is_flag=True, help="Go on with folds that were stopped.")
@option("--force", is_flag=True, help="Train finished folds anew.")
@seed_option(42, seeds="Of folds, weights and draws.")
@store_option
@runs_options
@device_option
@parallel_options
@strict_option
@common
def train(corpus: Path, modes: "tuple[FeatureMode, ...]", strict: bool, as_json: bool, **settings: Any) -> None:
    """Train the folds of a run.

    What the store lacks is computed first; a finished fold is kept. Without --mode: the modes that the store holds
    for this corpus, or LH and X. A row of a --relabel file gives a training clip another label (an empty one leaves
    it out) or says whether it is verified; folds and scores keep the corpus's labels.

    Where some labels are unverified and all folds are asked for, --label-noise on trains twice: the first round, of
    half the epochs, tells which of these labels the second leaves out. They stand in RUN/relabel.csv.

    \b
    Example:
      cli train data
      cli train --fold 3 --mode lh
      cli train data --epochs 50 --run quick
      cli train data --relabel relabel.csv --run relabelled
    """
    from corpus.relabel import count_relabels
    from corpus.tables import read_corpus

    start = time.monotonic()
    clips = read_corpus(corpus)
    has_test = bool((clips["split"] == "test").any())
    clips = clips[(clips["split"] == "train") & clips["label"].notna()]
    request = _run_request(clips, settings)
    with progress_bars() as bars:
        chosen = _training_modes(settings["store"], modes, clips)
        readers, quarantined = _stored(clips, chosen, bars, settings)
        if _takes_two_rounds(clips, request):
            request = _first_round(clips, readers, request, bars, settings, started=start)
        results = _train(clips, readers, request, bars, settings, started=start)
    seconds = round(time.monotonic() - start, 2)
    result = {"runs": results, "quarantined": _list_quarantined(quarantined), "seconds": seconds}
    if request.relabels is not None:
        result["relabelled"] = count_relabels(clips, request.relabels)
    show(result, _train_text(results, seconds, has_test=has_test), as_json=as_json)
    _finish_strict(strict, quarantined)


def _takes_two_rounds(clips: "pd.DataFrame", request: "RunRequest") -> bool:
    """Tell whether a first training is to judge the labels that nobody verified."""
    unverified = int((~clips["manually_verified"].fillna(value=True)).sum())
    if not (request.recipe.first_round and unverified) or request.relabels is not None:
        return False
    if request.folds is not None:
        say(f"--fold all would first find out which of the {unverified} unverified labels to leave out of training")
    return request.folds is None


def _first_round(
    clips: "pd.DataFrame",
    readers: "dict[str, tuple[FeatureMode, StoreReader]]",
    request: "RunRequest",
    bars: Bars,
    settings: dict[str, Any],
    *,
    started: float,
) -> "RunRequest":
    """Train once to judge unverified labels, unless that is done, and leave those out that it does not believe."""
    import dataclasses

    from infer.oof import read_out_of_fold
    from infer.submission import write_csv
    from train.issues import judge_labels
    from train.proposal import leave_out_doubted

    file = request.folder / "relabel.csv"
    if request.force or not file.exists():
        first = dataclasses.replace(
            request, folder=request.folder / _FIRST_ROUND, recipe=request.recipe.for_first_round()
        )
        say(f"first round, to judge unverified labels: {first.recipe.epochs} epochs")
        share = request.recipe.first_round / (1 + request.recipe.first_round)
        limit = settings["limit_minutes"] and settings["limit_minutes"] * share
        _train(clips, readers, first, bars, {**settings, "limit_minutes": limit}, started=started)
        predicted = read_out_of_fold(first.folder, list(readers))
        judged = judge_labels(clips, predicted.probabilities, unheard=predicted.unheard(clips))
        write_csv(leave_out_doubted(judged), file)
    return dataclasses.replace(request, relabels=_read_relabels([file], clips))


def _run_request(clips: "pd.DataFrame", settings: dict[str, Any]) -> "RunRequest":
    """Check all that is asked of a run before anything is computed for it."""
    import dataclasses

    from train.checkpoint import check_run_name
    from train.device import pick_engine
    from train.plan import RunRequest, check_request
    from train.recipe import RECIPES

    recipe = RECIPES[settings["recipe"]]
    recipe = dataclasses.replace(recipe, epochs=settings["epochs"] or recipe.epochs)
    if settings["pretrained"] is not None:
        recipe = dataclasses.replace(recipe, pretrained=settings["pretrained"])
    if settings["label_noise"]:
        recipe = recipe.with_label_noise(settings["label_noise"] == "on")
    name = recipe.name if settings["run_name"] is None else settings["run_name"]
    check_run_name(name)
    pick_engine(settings["device"])
    request = RunRequest(
        folder=settings["runs"].absolute() / name,
        recipe=recipe,
        folds=_folds(settings["fold"]),
        n_folds=settings["folds"],
        seed=settings["seed"],
        device=settings["device"],
        resident=settings["resident"],
        resume=settings["resume"],
        force=settings["force"],
        relabels=_read_relabels(settings["relabel"], clips),
    )
    if not clips.empty:
        check_request(clips, request)
    if spaced := sorted({label for label in clips["label"] if " " in label}):
        say(f"class {spaced[0]!r} holds a space: a Kaggle CSV cannot name it, cli predict --probabilities can")
    return request


def _read_relabels(paths: Sequence[Path], clips: "pd.DataFrame") -> "pd.DataFrame | None":
    """Read the --relabel files, and say what they change."""
    from corpus.relabel import count_relabels, read_relabels, relabel_words

    if not paths or clips.empty:
        return None
    relabels = read_relabels(paths, clips)
    counts = count_relabels(clips, relabels)
    say(f"relabelled: {relabel_words(counts)} ({counts['unchanged']} rows say what the corpus says)")
    return relabels


def _training_modes(store: Path, modes: "Sequence[FeatureMode]", clips: "pd.DataFrame") -> "list[FeatureMode]":
    from featurize.stored import stored_modes, stored_variant

    names = clips["fname"].tolist()
    if not modes:
        return stored_modes(store, names, known=_known_modes()) or _all_modes()
    return [stored_variant(store, mode, names) or mode for mode in modes]


def _stored(
    clips: "pd.DataFrame", modes: "Sequence[FeatureMode]", bars: Bars, settings: dict[str, Any]
) -> "tuple[dict[str, tuple[FeatureMode, StoreReader]], list[tuple[str, str]]]":
    """Compute what the store lacks, say so, and open readers of the clips that have frames."""
    reports, quarantined = _compute(clips, modes, bars, settings)
    return _readers(reports), quarantined


def _compute(
    clips: "pd.DataFrame", modes: "Sequence[FeatureMode]", bars: Bars, settings: dict[str, Any]
) -> "tuple[dict[str, ModeReport], list[tuple[str, str]]]":
    """Compute what the store lacks, and say so."""
    from cache.errors import CorpusError

    if clips.empty:
        message = "the corpus has no clips for this: no labelled training clip"
        raise CorpusError(message)
    shared = {key: settings[key] for key in ("store", "jobs", "backend", "scheduler")}
    reports = _featurizer(modes, bars, **shared).run(clips)
    quarantined = sorted({row for report in reports.values() for row in report.quarantined})
    for name, report in reports.items():
        if report.computed:
            say(f"{name}: computed {report.computed} clips that the store lacked")
    for name, reason in quarantined:
        say(f"quarantined: {escaped(name)}: {reason}")
    return reports, quarantined


def _readers(
    reports: "Mapping[str, ModeReport]", names: "Container[str] | None" = None
) -> "dict[str, tuple[FeatureMode, StoreReader]]":
    """Open readers of the clips that have frames: of those named, or of all."""
    from cache import open_store

    readers = {}
    for mode, report in reports.items():
        if keys := [key for key in report.keys if names is None or key.name in names]:
            readers[mode] = report.mode, open_store(report.store.absolute(), keys)
    return readers


def _train(
    clips: "pd.DataFrame",
    readers: "dict[str, tuple[FeatureMode, StoreReader]]",
    request: "RunRequest",
    bars: Bars,
    settings: dict[str, Any],
    *,
    started: float,
) -> list[dict[str, Any]]:
    import dataclasses

    from cache.errors import CorpusError
    from corpus.rows import counted
    from featurize.jobs import run_tasks
    from train.budget import fold_limits
    from train.loop import train_fold
    from train.plan import plan_run

    if not readers:
        message = "no training clip has frames: every one is quarantined; see cli corpus info"
        raise CorpusError(message)
    plan = plan_run(clips, readers, request)
    workers, threads = _training_workers(request.device, settings["jobs"], len(plan.jobs))
    seconds_left = (settings["limit_minutes"] or math.inf) * 60 - (time.monotonic() - started)
    modes = [job.settings["mode"]["name"] for job in plan.jobs]
    limits = fold_limits(modes, seconds_left, workers, expected=settings.get("fold_seconds"))
    jobs = [
        dataclasses.replace(job, threads=threads, seconds_limit=limit)
        for job, limit in zip(plan.jobs, limits, strict=True)
    ]
    results = list(plan.kept)
    if request.folder.name != _FIRST_ROUND:
        _say_of_folds(jobs)
    with _watch(jobs, bars):
        for result in run_tasks(
            train_fold, jobs, jobs=workers, backend=settings["backend"], scheduler=settings["scheduler"]
        ):
            results.append(result)
            say(
                f"{result['mode']} fold {result['fold']}: mAP@3 {result['map3']:.3f}, "
                f"{counted(result['epochs'], 'epoch')}, {human_seconds(result['seconds'])}"
            )
    return sorted(results, key=lambda row: (row["mode"], row["fold"]))


def _say_of_folds(jobs: "Sequence[FoldJob]") -> None:
    """Say what folds lack, and which views begin with weights that come with earmark: a competition may forbid it."""
    from corpus.rows import named
    from train.pretrained import find_pretrained

    modes = {job.settings["mode"]["name"]: job.settings["mode"] for job in jobs if job.recipe.pretrained}
    if begun := [name for name, mode in modes.items() if find_pretrained(mode)]:
        verb = "begins" if len(begun) == 1 else "begin"
        say(f"{', '.join(begun)} {verb} with weights trained on synthetic sounds (not with --no-pretrained)")
    lacking = {job.settings["fold"]: job.unseen_classes for job in jobs}
    for fold, names in sorted(lacking.items()):
        if names:
            say(f"fold {fold} is trained without {named(names)}: it has no say in what it does not know")


def _training_workers(device: str, jobs: int | None, n_folds: int) -> tuple[int, int]:
    """Return how many folds are trained at a time, and the threads of each."""
    from featurize.jobs import count_jobs
    from train.device import pick_engine

    on_cpu = pick_engine(device).device.type == "cpu"
    workers = min(count_jobs(jobs) if on_cpu else jobs or 1, max(1, n_folds))
    return workers, max(1, count_jobs(None) // workers)


def _folds(text: str) -> list[int] | None:
    if text == "all":
        return None
    if not text.isdecimal():
        message = f"--fold must be a number from 0, or all; got {text!r}"
        raise click.BadParameter(message)
    return [int(text)]


@contextlib.contextmanager
def _watch(jobs: "Sequence[FoldJob]", bars: Bars) -> Iterator[None]:
    """Move the bar by the folds' ``history.csv``, wherever they are trained."""
    stop = threading.Event()

    def watch() -> None:
        from train.history import read_progress

        while not stop.wait(0.5):
            done, total, note = read_progress(jobs)
            bars("train", min(done, total - 1), total, note=note)

    thread = threading.Thread(target=watch, daemon=True)
    if sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if thread.ident:
            thread.join()


def _train_text(results: list[dict[str, Any]], seconds: float, *, has_test: bool) -> str:
    lines = ["mode  fold  mAP@3           epochs  time"]
    for row in results:
        error = f" ± {row['map3_se']:.3f}" if row["map3_se"] is not None else ""
        kept = "  (kept)" if row.get("kept") else ""
        lines.append(
            f"{row['mode']:<5} {row['fold']:>4}  {row['map3']:.3f}{error:<9}  {row['epochs']:>6}  "
            f"{human_seconds(row['seconds'])}{kept}"
        )
    following = next_step("predict") if has_test else next_step("report")
    return "\n".join([*lines, human_seconds(seconds), following])


@cli.command()
@corpus_argument
@mode_name_option
@store_option
@runs_options
@option("--out", type=click.Path(path_type=Path), default="submission.csv", show_default=True, help="CSV to write.")
@option("--probabilities", type=click.Path(path_type=Path), help="Also write all classes' probabilities as CSV.")
@device_option
@parallel_options
@strict_option
@common
def predict(corpus: Path, modes: tuple[str, ...], strict: bool, as_json: bool, **settings: Any) -> None:
    """Predict the test clips with all networks of a run, as a Kaggle CSV.

    What the store lacks is computed first. Windows, folds and modes are joined by the rooted geometric mean.

    \b
    Example:
      cli predict data
      cli predict --run notebook --out sub.csv --probabilities p.csv
    """
    from cache.errors import CorpusError
    from corpus.files import shown_name
    from corpus.rows import counted
    from corpus.tables import read_corpus
    from infer.submission import write_csv

    start = time.monotonic()
    _check_outputs(corpus, modes, settings)
    clips = read_corpus(corpus)
    clips = clips[clips["split"] == "test"]  # its attributes stay
    if clips.empty:
        message = (
            f"{shown_name(str(corpus))} has no test clips to predict; cli report shows what networks say of training "
            "clips that they did not train on, and cli tag predicts any other recordings"
        )
        raise CorpusError(message)
    labelled = bool(clips["label"].notna().any())
    with progress_bars() as bars:
        table, models, quarantined = _predict(clips, modes, bars, settings)
    if settings["probabilities"]:
        write_csv(table, settings["probabilities"])
    write_csv(_submission(table, corpus, clips), settings["out"])
    seconds = round(time.monotonic() - start, 2)
    result = {
        "out": str(settings["out"]),
        "clips": len(table),
        "models": models,
        "quarantined": _list_quarantined(quarantined),
        "seconds": seconds,
    }
    counts = f"{counted(len(table), 'clip')}, {counted(models, 'network')}"
    text = f"{settings['out']}: {counts}, {human_seconds(seconds)}"
    following = next_step("evaluate", settings["out"]) if labelled else next_step("report")
    show(result, f"{text}\n{following}", as_json=as_json)
    _finish_strict(strict, quarantined)


def _submission(table: "pd.DataFrame", corpus: Path, clips: "pd.DataFrame") -> "pd.DataFrame":
    """Turn probabilities into Kaggle's table, checked against the sample submission of a competition's layout."""
    from corpus.tables import competition_layout
    from infer.submission import check_against_sample, to_submission

    submission = to_submission(table)
    sample = corpus / "sample_submission.csv"
    # Elsewhere a sample tells the order of the clips it names, and need not name all.
    if competition_layout(clips) and sample.exists():
        check_against_sample(submission, sample)
    return submission


def _check_outputs(corpus: Path, modes: Sequence[str], settings: dict[str, Any]) -> None:
    """Refuse paths that cannot be written, or hold something else, before anything is computed."""
    from infer.replacement import check_table
    from infer.runs import find_run, read_classes

    out, probabilities = settings["out"], settings["probabilities"]
    for name, path in (("--out", out), ("--probabilities", probabilities)):
        if path is not None and path.is_dir():
            message = f"{name} must name a file; {path} is a folder"
            raise click.BadParameter(message)
    if out is not None and probabilities is not None and out.absolute() == probabilities.absolute():
        message = f"--out and --probabilities must be two files; both are {out}"
        raise click.BadParameter(message)
    if out is not None:
        check_table(out, corpus, columns=["fname", "label"])
    if probabilities is not None and probabilities.exists():
        classes = read_classes(find_run(settings["runs"], settings["run_name"]), modes)
        check_table(probabilities, corpus, columns=["fname", *classes])


def _predict(
    clips: "pd.DataFrame", modes: Sequence[str], bars: Bars, settings: dict[str, Any]
) -> "tuple[pd.DataFrame, int, list[tuple[str, str]]]":
    import torch

    from featurize.jobs import count_jobs
    from infer.predict import predict_clips
    from infer.runs import find_run, load_run, stored_mode
    from train.device import pick_engine

    engine = pick_engine(settings["device"])
    torch.set_num_threads(count_jobs(settings["jobs"]))
    run = load_run(find_run(settings["runs"], settings["run_name"]), modes)
    stored, quarantined = _stored(clips, [stored_mode(models[0]) for models in run.values()], bars, settings)
    readers = {name: reader for name, (_, reader) in stored.items()}
    if quarantined:
        say("clips without frames get the three classes that are most frequent in training")
    table = predict_clips(clips["fname"].tolist(), readers, run, engine, progress=bars)
    return table, sum(map(len, run.values())), quarantined


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@mode_name_option
@networks_options
@option("--out", type=click.Path(path_type=Path), help="File to write.  [default: print]")
@option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl"]),
    help="CSV or JSON lines.  [default: by --out; without it a table on a terminal, else csv]",
)
@option("--force", is_flag=True, help="Replace a file that is there.")
@_share("--min-score", default=0.2, text="Below it: unknown.")
@option("--family", "families", multiple=True, metavar="NAME", help="Only recordings of this family of sounds.")
@option("--top", "n_tags", type=click.IntRange(min=1), default=3, show_default=True, help="Tags a recording.")
@store_option
@longest_option("Longer recordings are not tagged.")
@parallel_options
@strict_option
@common
def tag(paths: tuple[Path, ...], modes: tuple[str, ...], strict: bool, as_json: bool, **settings: Any) -> None:
    """Tag recordings: files, and folders with all that lies below them.

    Any sound file counts, and any film whose sound track PyAV decodes (pip install 'earmark[video]'). No store is
    needed; frames that one has are used. Probabilities are at a temperature that fits the run's out-of-fold
    predictions. A recording is "unknown" where its likeliest class is below --min-score. A run with --out that was
    stopped goes on when it is called again.

    The CSV has the columns path, seconds, label, score, audioset_id, family, then label_2, score_2 and so on, and
    problem, which says why a recording has no tags. Families: instrument, human, animal, domestic, vehicle, alarm,
    explosion, material.

    \b
    Example:
      cli tag library --out tags.csv
      cli tag door.wav film.mkv --format jsonl
      cli tag library --family animal --min-score 0.5
      cli tag library --bundle bundle --runtime onnx
    """
    import dataclasses

    from infer.recordings import find_recordings
    from infer.tagging import TagTask
    from infer.trained import fitted_calibration, load_trained

    start = time.monotonic()
    out, families, kind = settings["out"], _check_families(settings["families"]), _tag_format(settings)
    recordings = find_recordings(paths)
    if out:
        _check_tag_file(out, recordings, force=settings["force"])
    trained = _networks(settings, modes)
    load_trained(trained)  # what is wrong with the networks is said before any sound is decoded
    fit = fitted_calibration(trained)
    say(_fit_words(fit))
    asked = TagTask(
        number=0,
        recordings=(),
        base=str(Path.cwd()),
        trained=dataclasses.replace(trained, temperature=fit.temperature),
        n_tags=settings["n_tags"],
        store=str(settings["store"].absolute()) if settings["store"].is_dir() else "",
        max_clip_minutes=settings["max_clip_minutes"],
    )
    lines = TagLines(kind, settings["min_score"], families, settings["n_tags"], keep=as_json and not out)
    with progress_bars() as bars:
        if out:
            _tag_to_file(recordings, asked, lines, out, bars, settings)
        else:
            _tag_to_terminal(recordings, asked, lines, bars, settings, quiet=as_json)
    seconds = round(time.monotonic() - start, 2)
    _show_tagged(lines, fit, out, seconds, as_json=as_json)
    _finish_strict(strict, lines.problems)


def _tag_format(settings: dict[str, Any]) -> str:
    """Tell the format that is asked for, or that the output's name says; on a terminal people read."""
    out, kind = settings["out"], settings["kind"]
    suffix = out.suffix.lower() if out else ".csv"
    if suffix == ".json" and kind is None:
        message = f"tags are written as CSV or JSON lines: name a .csv or .jsonl file, or give --format; got {out}"
        raise click.BadParameter(message)
    if out is None and kind is None and sys.stdout.isatty():
        return "table"
    return kind or ("jsonl" if suffix in (".jsonl", ".ndjson") else "csv")


def _check_tag_file(out: Path, recordings: Sequence[str], *, force: bool) -> None:
    from cache.outfile import check_out

    check_out(out, force=force)
    if out.exists() and any(out.samefile(path) for path in recordings if Path(path).exists()):
        message = f"--out {out} is one of the recordings: name another file"
        raise click.BadParameter(message)


def _networks(settings: dict[str, Any], modes: Sequence[str]) -> "Trained":
    """Name the networks of the bundle or the run that is asked for."""
    from infer.bundle import is_bundle
    from infer.bundle_contents import BUNDLE
    from infer.runs import find_run
    from infer.trained import Trained

    bundle = settings["bundle"]
    if bundle and not is_bundle(bundle):
        message = f"--bundle must name a folder that cli export made; {bundle} has no {BUNDLE}"
        raise click.BadParameter(message)
    folder = (bundle or find_run(settings["runs"], settings["run_name"])).absolute()
    return Trained(str(folder), tuple(modes), settings["device"], settings["runtime"])


class TagLines:
    """Lines of tags, and what is counted over them."""

    def __init__(self, kind: str, min_score: float, families: Sequence[str], n_tags: int, *, keep: bool) -> None:
        self.kind, self.min_score, self.families, self.n_tags, self.keep = kind, min_score, families, n_tags, keep
        self.files = self.listed = self.unknown = 0
        self.sound_seconds = self.new_seconds = 0.0  # of all recordings, and of those that were tagged by this run
        self.problems: list[dict[str, str]] = []
        self.records: list[dict[str, Any]] = []

    def header(self) -> str:
        """Give the line before all others."""
        from infer.tags import csv_header, table_header

        return {"csv": csv_header(self.n_tags), "table": table_header()}.get(self.kind, "")

    def line(self, tagged: "Tagged") -> str:
        """Count a recording, and give its line: none where it is of another family."""
        from corpus.files import shown_name
        from infer.tags import UNKNOWN, first_label, in_families, to_csv_line, to_json_line, to_record, to_table_line

        self.files += 1
        self.sound_seconds += tagged.seconds
        if tagged.problem:
            self.problems.append({"path": shown_name(tagged.path), "reason": tagged.problem})
        elif not in_families(tagged, self.families, min_score=self.min_score):
            return ""
        self.listed += 1
        self.unknown += first_label(tagged, min_score=self.min_score) == UNKNOWN
        if self.keep:
            self.records.append(to_record(tagged, min_score=self.min_score))
        if self.kind == "csv":
            return to_csv_line(tagged, min_score=self.min_score, n_tags=self.n_tags)
        if self.kind == "table":
            return to_table_line(tagged, min_score=self.min_score)
        return to_json_line(tagged, min_score=self.min_score)


def _check_families(families: Sequence[str]) -> Sequence[str]:
    from corpus.ontology import FAMILIES

    for name in families:
        if name not in FAMILIES:
            near = get_close_matches(name, FAMILIES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"--family must be one of {', '.join(FAMILIES)}; got {name!r}{hint}"
            raise click.BadParameter(message)
    return families


def _fit_words(fit: "Calibration") -> str:
    if not fit.clips:
        return "no temperature is fitted: too few held clips with labels; train anew"
    return (
        f"temperature {fit.temperature:.2f}, fitted on {fit.clips} held clips\n"
        f"calibration error {fit.error_before:.3f} before, {fit.error_after:.3f} after "
        f"({fit.error_by_chance:.3f} by chance alone)"
    )


def _tag_to_file(
    recordings: Sequence[str], asked: "TagTask", lines: TagLines, out: Path, bars: Bars, settings: dict[str, Any]
) -> None:
    import dataclasses

    from cache.outfile import write_atomically
    from infer.journal import Journal
    from infer.runs import digest_run

    made_with = {key: value for key, value in dataclasses.asdict(asked).items() if key not in ("number", "recordings")}
    made_with |= {"networks": digest_run(Path(asked.trained.folder))}
    with Journal(out, made_with, recordings) as journal:
        if n_done := len(recordings) - len(journal.waiting):
            bars.say(f"{n_done} of {len(recordings)} recordings were tagged before; going on")
        for rows in _tag_rows(journal.waiting, asked, bars, settings, n_done=n_done):
            lines.new_seconds += sum(tagged.seconds for tagged in rows)
            journal.add(rows)

        def write(part: Path) -> None:
            with part.open("w", encoding="utf-8", newline="") as file:
                file.write(lines.header())
                file.writelines(map(lines.line, journal.rows()))

        write_atomically(out, write)
        journal.remove()


def _tag_to_terminal(
    recordings: Sequence[str], asked: "TagTask", lines: TagLines, bars: Bars, settings: dict[str, Any], *, quiet: bool
) -> None:
    if not quiet:
        click.echo(lines.header(), nl=False)
    for rows in _tag_rows(recordings, asked, bars, settings):
        lines.new_seconds += sum(tagged.seconds for tagged in rows)
        for tagged in rows:
            line = lines.line(tagged)
            if line and not quiet:
                click.echo(line, nl=False)


def _tag_rows(
    recordings: Sequence[str], asked: "TagTask", bars: Bars, settings: dict[str, Any], *, n_done: int = 0
) -> "Iterator[list[Tagged]]":
    from featurize.jobs import count_jobs
    from infer.tagging import make_tasks, tag_all

    done, total, seconds = n_done, n_done + len(recordings), 0.0
    jobs = count_jobs(settings["jobs"])
    tasks = make_tasks(recordings, asked, jobs=jobs)
    for rows in tag_all(tasks, jobs=jobs, backend=settings["backend"], scheduler=settings["scheduler"]):
        done += len(rows)
        seconds += sum(tagged.seconds for tagged in rows)
        if settings["out"] or not sys.stdout.isatty():  # elsewhere the rows themselves tell how far it is
            bars("tag", done, total, seconds)
        yield rows


def _show_tagged(lines: TagLines, fit: "Calibration", out: Path | None, seconds: float, *, as_json: bool) -> None:
    from corpus.files import shown_name
    from corpus.rows import counted

    for problem in lines.problems:
        say(f"not tagged: {escaped(problem['path'])}: {problem['reason']}")
    result: dict[str, Any] = {
        "out": shown_name(str(out)) if out else None,
        "files": lines.files,
        "listed": lines.listed,
        "unknown": lines.unknown,
        "problems": lines.problems,
        "calibration": fit.to_dict(),
        "sound_seconds": round(lines.sound_seconds, 3),
        "seconds": seconds,
    }
    text = (
        f"{counted(lines.files, 'recording')}, {lines.unknown} unknown, {len(lines.problems)} not tagged; "
        f"{human_seconds(seconds)}, {lines.new_seconds / max(seconds, 1e-9):,.0f}× real time"
    )
    if as_json:
        show(result if out else result | {"tags": lines.records}, "", as_json=True)
    elif out:
        following = f"{next_step('caption')} FILE tells what sounds when in a recording"
        show(result, f"{result['out']}: {text}\n{following}", as_json=False)
    else:
        say(f"{text}\nnext: --out tags.csv keeps these lines")


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@option(
    "--format",
    "kind",
    type=click.Choice(["vtt", "srt", "audacity", "raven", "dcase", "json"]),
    default="vtt",
    show_default=True,
    help="WebVTT or SRT for players, labels for Audacity or Raven, DCASE's table, JSON.",
)
@option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder to write to.  [default: .]"
)
@mode_name_option
@networks_options
@option(
    "--phrases", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML with phrases of your own."
)
@_share("--start-score", default=0.4, text="An event begins where a class is this likely")
@_share("--end-score", default=0.2, text="and lasts while it is this likely.")
@_seconds("--least-seconds", default=0.1, text="Shorter events are dropped.")
@_seconds("--gap-seconds", default=0.5, text="Events of a class with no more between them are one.")
@_seconds("--window-seconds", default=4.0, text="Length of the windows that networks hear.")
@option(
    "--gate-db",
    type=click.FloatRange(-200, 0),
    callback=_finite,
    default=-80.0,
    show_default=True,
    help="What is quieter is silence: dB from full scale.",
)
@option("--force", is_flag=True, help="Replace files that are there.")
@option("--resume", is_flag=True, help="Leave files that are there, and go on with the other recordings.")
@parallel_options
@strict_option
@common
def caption(files: tuple[Path, ...], modes: tuple[str, ...], strict: bool, as_json: bool, **settings: Any) -> None:
    """Caption the sounds of recordings and films of any length.

    Sound files, and films whose sound track PyAV decodes (pip install 'earmark[video]'), a folder with all that lies
    below it. What stands out from the background of its minute is an event; networks hear it in overlapping windows.
    WebVTT and SRT hold phrases ([dog barking]), shown long enough to be read; the other formats the classes and the
    exact times.

    \b
    Example:
      cli caption film.mkv
      cli caption film.mkv --format srt --phrases mine.toml
      cli caption field/*.wav --format raven --out tables
    """
    import dataclasses

    from infer.captioning import CaptionTask
    from infer.detection import DetectionRules
    from infer.phrases import Phrases, read_phrases
    from infer.recordings import find_recordings
    from infer.trained import fitted_calibration, load_trained

    start = time.monotonic()
    names = ("start_score", "end_score", "least_seconds", "gap_seconds", "window_seconds", "gate_db")
    if settings["force"] and settings["resume"]:
        message = "--force replaces files that are there, --resume leaves them: give one of them"
        raise click.UsageError(message)
    rules = DetectionRules(**{name: settings[name] for name in names})
    recordings = find_recordings(files)
    outputs = _caption_files(recordings, settings)
    trained = _networks(settings, modes)
    classes = load_trained(trained).classes
    phrases = read_phrases(settings["phrases"], classes=classes) if settings["phrases"] else Phrases()
    trained = dataclasses.replace(trained, temperature=fitted_calibration(trained).temperature)
    asked = CaptionTask("", str(Path.cwd()), trained, rules)
    with progress_bars() as bars:
        written, problems = _caption(outputs, asked, phrases, bars, settings)
    seconds = round(time.monotonic() - start, 2)
    in_order = [written[path] for path in recordings if path in written]
    result = {"files": in_order, "problems": problems, "seconds": seconds}
    show(result, _caption_text(in_order, problems, seconds, settings["kind"]), as_json=as_json)
    _finish_strict(strict, problems)


def _caption(
    outputs: Mapping[str, Path], asked: "CaptionTask", phrases: "Phrases", bars: Bars, settings: dict[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Find events and write them, recording by recording; return a record of each, and what could not be done."""
    from corpus.files import shown_name
    from featurize.jobs import count_jobs
    from infer.captioning import caption_all
    from infer.captions import event_records, write_captions

    written: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    jobs, places = count_jobs(settings["jobs"]), {key: settings[key] for key in ("backend", "scheduler")}
    heard = 0.0
    for number, found in enumerate(caption_all(list(outputs), asked, jobs=jobs, **places), start=1):
        heard += found.seconds
        bars("caption", number, len(outputs), heard)
        if found.problem:
            problems[found.path] = found.problem
            continue
        out = outputs[found.path]
        name, rate_hz = Path(found.path).name, found.sample_rate_hz
        write_captions(found.events, settings["kind"], out, name=name, phrases=phrases, sample_rate_hz=rate_hz)
        written[found.path] = {
            "path": shown_name(found.path),
            "out": shown_name(str(out)),
            "seconds": round(found.seconds, 3),
            "events": event_records(found.events),
        }
    return written, [{"path": shown_name(path), "reason": problems[path]} for path in outputs if path in problems]


def _caption_text(
    written: Sequence[dict[str, Any]], problems: Sequence[dict[str, str]], seconds: float, kind: str
) -> str:
    from corpus.rows import counted

    for problem in problems:
        say(f"not captioned: {escaped(problem['path'])}: {problem['reason']}")
    lines = [
        f"{each['out']}: {counted(len(each['events']), 'event')} in {human_seconds(each['seconds'])}"
        for each in written
    ]
    heard = sum(each["seconds"] for each in written)
    lines.append(f"{human_seconds(seconds)}, {heard / max(seconds, 1e-9):,.0f}× real time")
    return "\n".join([*lines, *(f"next: {_CAPTIONS_FOR.get(kind, _CAPTIONS_TO_SCORE)}" for _ in written[:1])])


def _caption_files(recordings: Sequence[str], settings: dict[str, Any]) -> dict[str, Path]:
    """Give each recording its file; refuse two that would be one, and pass over or refuse files that are there."""
    from cache.outfile import check_out
    from corpus.files import shown_name
    from corpus.rows import counted
    from infer.captions import CAPTION_FORMATS

    suffix, out = CAPTION_FORMATS[settings["kind"]], settings["out"]
    out.mkdir(parents=True, exist_ok=True)
    owners: dict[Path, str] = {}
    for path in recordings:
        target = out / f"{Path(path).stem}{suffix}"
        if other := owners.get(target):
            message = (
                f"{shown_name(other)} and {shown_name(path)} would both be captioned in {target}: caption one at a time"
            )
            raise click.UsageError(message)
        owners[target] = path
    waiting = {path: target for target, path in owners.items() if not (settings["resume"] and target.is_file())}
    if n_done := len(owners) - len(waiting):
        say(f"{n_done} of {counted(len(owners), 'recording')} captioned before; going on")
    for target in waiting.values():
        check_out(target, force=settings["force"])
    return waiting


@cli.command()
@mode_name_option
@runs_options
@option("--out", type=click.Path(path_type=Path), default="bundle", show_default=True, help="Folder to make.")
@option("--onnx/--no-onnx", "with_onnx", default=True, show_default=True, help="Write each network as ONNX, too.")
@option("--force", is_flag=True, help="Replace a bundle that is there.")
@common
def export(modes: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    """Export a run as a bundle: a folder that tags without the training data.

    It holds the networks with their front-end's settings, the temperature, each network as ONNX (pip install
    'earmark[onnx]'), a model card, and the SHA-256 of every file. Loading it runs no code.

    \b
    Example:
      cli export
      cli export --run best --mode x --out small --no-onnx
      cli tag library --bundle bundle
    """
    import shlex

    from corpus.files import shown_name
    from corpus.rows import counted
    from infer.bundle import write_bundle
    from infer.runs import find_run

    start = time.monotonic()
    out = settings["out"]
    run = find_run(settings["runs"], settings["run_name"])
    with progress_bars() as bars:
        contents = write_bundle(
            run, out, modes=modes, with_onnx=settings["with_onnx"], force=settings["force"], progress=bars
        )
    n_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    n_networks = sum(map(len, contents["modes"].values()))
    result = {
        "out": shown_name(str(out)),
        "run": run.name,
        "modes": contents["modes"],
        "networks": n_networks,
        "onnx": settings["with_onnx"],
        "calibrations": contents["calibrations"],
        "bytes": n_bytes,
        "seconds": round(time.monotonic() - start, 2),
    }
    text = f"{shown_name(str(out))}: {counted(n_networks, 'network')} of run {run.name!r}, {human_bytes(n_bytes)}"
    show(result, f"{text}\nnext: cli tag PATHS --bundle {shlex.quote(shown_name(str(out)))}", as_json=as_json)


@cli.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@corpus_argument
@common
def evaluate(predictions: Path, corpus: Path, as_json: bool) -> None:
    """Score predictions: mAP@3 with its standard error, accuracy, AP@3 a class.

    PREDICTIONS is a submission, or a table of probabilities such as a fold's oof.csv.

    \b
    Example:
      cli evaluate submission.csv data
      cli evaluate runs/notebook/lh/fold-0/oof.csv data
    """
    from corpus.tables import read_corpus
    from infer.evaluate import evaluate as score

    result = score(predictions, read_corpus(corpus))
    show(result, _evaluate_text(result), as_json=as_json)


def _evaluate_text(result: dict[str, Any]) -> str:
    from corpus.summary import fit

    lines = [f"{fit(name, 60)} {ap3:.3f}" for name, ap3 in sorted(result["by_class"].items(), key=lambda item: item[1])]
    scores = [*_score_lines(result), *_reference_lines(result["references"])]
    return "\n".join(["AP@3 a class:", *lines, "", *scores, "", next_step("report")])


def _score_lines(result: Mapping[str, Any]) -> list[str]:
    from corpus.rows import counted

    def row(name: str, part: Mapping[str, Any]) -> str:
        error = f" ± {part['map3_se']:.3f}" if part["map3_se"] is not None else ""
        return f"{name:<9} mAP@3 {part['map3']:.3f}{error}   {counted(part['clips'], 'clip')}"

    lines = [row(name, part) for name, part in result["by_usage"].items()]
    groups = f" of {counted(result['groups'], 'group')}" if result["groups"] else ""
    return [*lines, f"{row('all', result)}{groups}   accuracy {result['accuracy']:.3f}"]


def _reference_lines(references: Sequence[Mapping[str, Any]]) -> list[str]:
    if not references:
        return []
    lines = ["", f"{'published':<22} Public  Private"]
    return lines + [
        f"{row['name']:<22}  {row['public']:.3f}    {row['private']:.3f}  {row['source']}" for row in references
    ]


@cli.command()
@corpus_argument
@mode_name_option
@store_option
@runs_options
@option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="HTML file to write.")
@option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the pictures as PNG files into this folder.",
)
@option(
    "--pictured",
    type=click.IntRange(min=0),
    default=600,
    show_default=True,
    help="Clips that get spectrograms and a player.",
)
@option(
    "--sound-mb",
    type=click.FloatRange(min=0),
    callback=_finite,
    default=25,
    show_default=True,
    help="Megabytes of sound in the file; what is beyond is linked.",
)
@option("--test/--no-test", "with_test", default=True, show_default=True, help="Predict the test clips, too.")
@device_option
@parallel_options
@strict_option
@common
def report(corpus: Path, modes: tuple[str, ...], strict: bool, as_json: bool, **settings: Any) -> None:
    """Write one HTML file to look at and listen to: scores, training, classes, confusions, and clips to review.

    It needs no network and no other file, but links to sounds that are too large to stand in it. Test clips are
    predicted by all networks of the run; what the store lacks is computed first. Spectrograms are drawn once, and kept
    in RUNS/.thumbnails. A report that is there is replaced. Verdicts that are made in the page are downloaded as a CSV
    for cli train --relabel.

    \b
    Example:
      cli report data
      cli report data --run best --out best.html --pictures pictures
      cli train data --relabel verdicts.csv --run reviewed
    """
    from corpus.files import shown_name
    from corpus.tables import read_corpus
    from infer.replacement import check_folder, check_recordings, check_report
    from infer.runs import find_run

    # Without a place to keep its caches matplotlib warns of the time it loses, which nobody here can use.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    start = time.monotonic()
    out, pictures = settings["out"], settings["pictures"]
    check_report(out, corpus)
    run = find_run(settings["runs"], settings["run_name"])
    clips = read_corpus(corpus)
    check_recordings(out, clips)
    if pictures:
        check_folder(pictures)
    with progress_bars() as bars:
        found, readers, quarantined = _report(clips, run, shown_name(corpus.resolve().name), modes, bars, settings)
        written = _write_page(found, readers, out, bars, settings)
        drawn = _report_pictures(found, readers, pictures, bars) if pictures else []
    seconds = round(time.monotonic() - start, 2)
    result = {
        "out": str(out),
        "run": run.name,
        "clips": len(clips),
        **written,
        "scores": found.scores,
        "lists": {name: len(rows) for name, rows in found.lists.items()},
        "remarks": found.measured.remarks,
        "pictures": {"folder": str(pictures), "files": len(drawn)} if pictures else None,
        "quarantined": _list_quarantined(quarantined),
        "seconds": seconds,
    }
    show(result, _report_text(result), as_json=as_json)
    _finish_strict(strict, quarantined)


def _report(
    clips: "pd.DataFrame", run: Path, name: str, modes: Sequence[str], bars: Bars, settings: dict[str, Any]
) -> "tuple[Report, dict[str, StoreReader], list[tuple[str, str]]]":
    """Put the report together: read the run, compute what the store lacks, predict the test clips."""
    from infer.report import read_views
    from infer.runs import load_run, stored_mode

    training, test = (clips[clips["split"] == split] for split in ("train", "test"))
    networks = load_run(run, modes)
    views = read_views(run, list(networks))
    seconds: dict[str, float] = {}
    with _timed("features", seconds):
        wanted = clips if settings["with_test"] else training
        stored, quarantined = _stored(wanted, [stored_mode(each[0]) for each in networks.values()], bars, settings)
    readers = {mode: reader for mode, (_, reader) in stored.items()}
    others = _trained_on_others(training, readers, networks)
    predicted: dict[str, pd.DataFrame] = {}
    if settings["with_test"] and len(test):
        with _timed("predict", seconds):
            predicted = _predict_views(test["fname"].tolist(), readers, networks, bars, settings)
    made = _make_report(clips, run, name, views, predicted, quarantined, seconds, settings, others=others)
    return made, readers, quarantined


def _make_report(
    clips: "pd.DataFrame",
    run: Path,
    name: str,
    views: "Mapping[str, OutOfFold]",
    predicted: "Mapping[str, pd.DataFrame]",
    quarantined: Sequence[tuple[str, str]],
    seconds: dict[str, float],
    settings: dict[str, Any],
    *,
    others: bool = False,
) -> "Report":
    """Put a report together from what the networks of a run said."""
    from infer.report import Measured, make_report
    from train.issues import judge_labels, list_issues

    joined = list(views.values())[-1]
    training = clips[clips["split"] == "train"]
    judged = judge_labels(training, joined.probabilities, unheard=joined.unheard(training))
    issues = list_issues(judged, include_verified=True)
    return make_report(
        clips,
        run,
        views,
        predicted,
        corpus=name,
        modes=list(joined.missing),
        issues=issues["fname"].tolist(),
        quarantined=quarantined,
        measured=Measured(
            seconds, *_report_remarks(clips, joined, dict(quarantined), others=others, tested=bool(predicted))
        ),
        most_pictured=settings["pictured"],
    )


def _write_page(
    found: "Report", readers: "Mapping[str, StoreReader]", out: Path, bars: Bars, settings: dict[str, Any]
) -> dict[str, Any]:
    from infer.players import Players
    from infer.report_page import Media, write_page
    from infer.thumbnails import FOLDER, Thumbnails

    thumbnails = Thumbnails(settings["runs"] / FOLDER)
    players = Players(out.absolute().parent, int(settings["sound_mb"] * 1e6))
    return write_page(found, Media(readers, thumbnails, players), out, progress=bars)


def _predict_views(
    names: list[str],
    readers: "dict[str, StoreReader]",
    networks: "Mapping[str, Sequence[Checkpoint]]",
    bars: Bars,
    settings: dict[str, Any],
) -> "dict[str, pd.DataFrame]":
    """Predict clips in each view; the last one joins all modes, as cli predict does."""
    import torch

    from featurize.jobs import count_jobs
    from infer.predict import join_predictions, predict_modes
    from infer.report import joined_name
    from train.device import pick_engine

    torch.set_num_threads(count_jobs(settings["jobs"]))
    by_mode = predict_modes(names, readers, networks, pick_engine(settings["device"]), progress=bars)
    info = next(iter(networks.values()))[0].info
    tables = {mode: join_predictions(names, [by_mode[mode]] if mode in by_mode else [], info) for mode in networks}
    if len(networks) == 1:
        return tables
    return tables | {joined_name(list(networks)): join_predictions(names, by_mode.values(), info)}


def _trained_on_others(
    training: "pd.DataFrame", readers: "Mapping[str, StoreReader]", networks: "Mapping[str, Sequence[Checkpoint]]"
) -> bool:
    """Tell whether some fold was trained on other clips or labels than the corpus has now."""
    from train.origin import trained_on

    labelled = training[training["label"].notna()]
    return not all(
        trained_on(network.info, readers[mode].keys if mode in readers else (), labelled)
        for mode, networks_of_mode in networks.items()
        for network in networks_of_mode
    )


def _report_remarks(
    clips: "pd.DataFrame", predicted: "OutOfFold", quarantined: "Container[str]", *, others: bool, tested: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Say what is not there, and why a clip of a split has no prediction."""
    from corpus.rows import counted

    modes_of: dict[tuple[int, ...], list[str]] = {}
    for mode, folds in predicted.missing.items():
        modes_of.setdefault(tuple(folds), []).append(mode)
    gaps = [
        f"{'fold' if len(folds) == 1 else 'folds'} {', '.join(map(str, folds))} of {' and '.join(modes)}"
        for folds, modes in modes_of.items()
        if folds
    ]
    training, test = (clips[clips["split"] == split] for split in ("train", "test"))
    unpredicted = training.loc[~training["fname"].isin(predicted.probabilities["fname"]), "fname"]
    missing = sum(name not in quarantined for name in unpredicted)
    not_trained, unknown = "the fold that holds this clip out is not trained", "the run was trained without this clip"
    why = unknown if not gaps else f"{not_trained}, or {unknown}" if others else not_trained
    unheard = f"{counted(missing, 'training clip')} without a prediction"
    if gaps:
        remarks = [f"Not trained: {'; '.join(gaps)}. " + (f"That leaves {unheard}." if missing else "")]
    else:
        remarks = [f"{unheard}: the run was trained without {'it' if missing == 1 else 'them'}."] if missing else []
    if unknown_to := len(predicted.unheard(training)):
        remarks.append(
            f"{counted(unknown_to, 'training clip')} of classes that were held out as a whole, which no network could "
            "know: they count as wrong, and are not listed."
        )
    if others:
        remarks.append("The run was trained on other clips or labels than the corpus has now.")
    if len(test) and not tested:
        remarks.append(f"{counted(len(test), 'test clip')} not predicted, as asked.")
    elif len(test) and test["label"].isna().all():
        remarks.append("The corpus has no labels for its test clips: they are predicted, but not scored.")
    return tuple(remarks), {"train": why, "test": "test clips were left out of this report, as asked"}


def _report_pictures(found: "Report", readers: "dict[str, StoreReader]", folder: Path, bars: Bars) -> list[Path]:
    from infer.plots import write_pictures

    return write_pictures(found, readers, folder, progress=bars)


def _report_text(result: dict[str, Any]) -> str:
    from corpus.rows import counted

    def row(name: str, part: dict[str, Any]) -> str:
        error = f" ± {part['se']:.3f}" if part["se"] is not None else ""
        groups = f" of {counted(part['groups'], 'group')}" if part["groups"] else ""
        return f"{name:<24} mAP@3 {part['map3']:.3f}{error}   {counted(part['clips'], 'clip')}{groups}"

    lines = []
    for scores in result["scores"]:
        lines.append(row(f"{scores['view']}, out of fold", scores["out_of_fold"]))
        if scores["test"]:
            lines.append(row(f"{scores['view']}, test", scores["test"]["all"]))
    lines += [textwrap.fill(f"note: {remark}", 80, subsequent_indent="  ") for remark in result["remarks"]]
    lists = result["lists"]
    errors, mistakes = counted(lists["issues"], "likely label error"), counted(lists["worst"], "mistake")
    lines.append(f"to review: {errors} (verified ones included), {mistakes}")
    drawn = result["pictures"]
    if drawn:
        lines.append(f"{drawn['folder']}: {counted(drawn['files'], 'picture')}")
    media = (
        f"{result['pictured']} with pictures, {counted(result['embedded'], 'sound')} in it, {result['linked']} linked"
    )
    lines.append(f"{counted(result['clips'], 'clip')}, {media}")
    lines.append(f"{result['out']}: {human_bytes(result['bytes'])}, {human_seconds(result['seconds'])}")
    lines.append(f"next: open {result['out']} in a browser")
    return "\n".join(lines)


@cli.command("evaluate-events")
@click.argument("events", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@_seconds("--collar", default=0.2, text="Seconds that onsets and offsets may be off.")
@_share(
    "--length-share",
    default=0.5,
    text="Offsets may be off by this share of the true event's length where that is more.",
)
@option("--onset-only", is_flag=True, help="Let offsets be off by any time.")
@option(
    "--segment",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    default=1.0,
    show_default=True,
    help="Seconds of a segment.",
)
@common
def evaluate_events(events: Path, truth: Path, as_json: bool, **settings: Any) -> None:
    """Score an event list against the truth: event- and segment-based F1 and error rate, in all and a class.

    EVENTS and TRUTH are each a file or a folder of files: DCASE TSV, CSV, Audacity labels, Raven selection table, or
    the JSON of cli caption. Recordings are matched by name, if need be without folder and suffix. A point label lasts
    1 ms.

    \b
    Keys of --json: recordings, only_in_events and only_in_truth (names),
    collar_seconds, length_share, onset_only, segment_seconds, event_based and
    segment_based; in each of these f1, precision, recall, truth, predicted,
    correct, macro (f1, precision, recall), substitutions, deletions,
    insertions, error_rate and by_class (label: f1, precision, recall, truth,
    predicted, correct). What cannot be given is null.

    \b
    Example:
      cli evaluate-events found.json truth.tsv
      cli evaluate-events found/ truth/ --collar 0.5 --onset-only
    """
    from infer.evaluate_events import evaluate_events as score
    from infer.event_matching import Tolerance

    tolerance = Tolerance(settings["collar"], settings["length_share"], settings["onset_only"])
    result = score(events, truth, tolerance=tolerance, segment_seconds=settings["segment"])
    _say_unmatched(result)
    show(result, _event_scores_text(result), as_json=as_json)


def _say_unmatched(result: dict[str, Any]) -> None:
    """Name what stands in one list only: more often misspelt than missed."""
    from corpus.rows import named

    for where, effect in (("events", "false alarms"), ("truth", "misses")):
        if names := result[f"only_in_{where}"]:
            say(f"recordings in {where.upper()} only, all their events count as {effect}: {named(names)}")
    by_class = result["event_based"]["by_class"]
    sides = [[label for label, row in by_class.items() if row[side]] for side in ("predicted", "truth")]
    if all(sides) and set(sides[0]).isdisjoint(sides[1]):
        say(f"no label is in both lists: {named(sides[0])} in EVENTS, {named(sides[1])} in TRUTH")


def _event_scores_text(result: dict[str, Any]) -> str:
    from corpus.rows import counted

    offsets = f"offsets within that or {100 * result['length_share']:g} % of the length"
    offsets = "offsets do not count" if result["onset_only"] else offsets
    titles = {
        "event_based": f"Events, onsets within {result['collar_seconds']:g} s, {offsets}:",
        "segment_based": f"Segments of {result['segment_seconds']:g} s:",
    }
    tables = [line for key, title in titles.items() for line in (title, *_event_score_lines(result[key]), "")]
    return "\n".join([*tables, counted(result["recordings"], "recording"), *_next_threshold(result["event_based"])])


def _next_threshold(scores: Mapping[str, Any]) -> list[str]:
    """Say which way the threshold of captions is to be moved, where that is seen."""
    precision, recall = (scores[key] or 0.0 for key in ("precision", "recall"))
    if precision == recall:
        return ["next: listen where the classes at the top are heard"] if recall < 1 else []
    way, what = ("lower", "recall") if recall < precision else ("higher", "precision")
    return [f"next: cli caption with a {way} --start-score, for more {what}"]


def _event_score_lines(scores: dict[str, Any]) -> list[str]:
    from corpus.summary import fit

    by_class = sorted(scores["by_class"].items(), key=lambda item: item[1]["f1"])

    def line(name: str, row: dict[str, Any]) -> str:
        counts = "".join(f"{row.get(key, ''):>{w}}" for key, w in (("truth", 8), ("predicted", 7), ("correct", 7)))
        shares = "".join(f"{'–' if row[key] is None else format(row[key], '.3f'):>{w}}" for key, w in _SHARES.items())
        return f"{fit(name, 28)}{counts}{shares}"

    header = f"{'':<28}{'truth':>8}{'found':>7}{'right':>7}{'precision':>11}{'recall':>9}{'F1':>9}"
    rate = "–" if scores["error_rate"] is None else f"{scores['error_rate']:.3f}"
    kinds = ("substituted", "substitutions"), ("deleted", "deletions"), ("inserted", "insertions")
    errors = f"error rate {rate}: {', '.join(f'{scores[key]} {word}' for word, key in kinds)}"
    macro = line("mean of the truth's classes", scores["macro"])
    return [header, *(line(*item) for item in by_class), line("all", scores), macro, errors]


@cli.group()
def cache() -> None:
    """Look at the store and check it."""


@cache.command("info")
@store_option
@runs_option
@common
def cache_info(store: Path, runs: Path, as_json: bool) -> None:
    """Say what the store holds, and how much of it is superfluous; end with 4 if a shard is bad.

    The frames stay unread: cli cache verify checks them.

    \b
    Example:
      cli cache info
    """
    from cache.errors import IntegrityError
    from cache.inventory import take_inventory
    from cache.prune import plan_prune
    from featurize.stored import known_fingerprints

    modes, known = take_inventory(store), _known_modes()
    # A mode's folder alone does not tell what stands beside it.
    whole = modes[0]["folder"] != store.absolute().name
    plan = plan_prune(store, known=known_fingerprints(runs, known=known), modes=known) if whole else None
    superfluous = plan.n_bytes if plan else None
    lines = [line for row in modes for line in _inventory_lines(row)]
    if plan and plan.removals:
        lines.append(f"superfluous: up to {human_bytes(plan.n_bytes)}")
        lines.append(next_step("cache prune", "--dry-run"))
    else:
        lines.append(next_step("cache verify"))
    show({"store": str(store), "modes": modes, "superfluous_bytes": superfluous}, "\n".join(lines), as_json=as_json)
    if any(row["bad"] for row in modes):
        raise click.exceptions.Exit(IntegrityError.exit_code)


def _inventory_lines(row: Mapping[str, Any]) -> Iterator[str]:
    from corpus.rows import counted
    from featurize.explain import describe_settings

    yield (
        f"{row['folder']}: {counted(row['clips'], 'clip')} ({human_seconds(row['seconds'])}), "
        f"{row['quarantined']} quarantined, {counted(row['shards'], 'shard')}, {human_bytes(row['bytes'])}"
    )
    if row["settings"]:
        yield _indented(describe_settings(row["settings"]))
    for versions in filter(None, row["versions"]):
        yield _indented(f"computed with {', '.join(f'{name} {version}' for name, version in versions.items())}")
    if row["superseded"]:
        yield f"  {row['superseded']} rows superseded by newer ones, {human_bytes(row['superseded_bytes'])}"
    if row["leftovers"]:
        yield f"  {len(row['leftovers'])} temporary files, {human_bytes(row['leftover_bytes'])}"
    for shard in row["bad"]:
        yield f"  bad: {shard['path']}: {shard['reason']}; run cli cache verify"


def _indented(text: str) -> str:
    """Lay words under the line before, in lines of 80 columns at most."""
    return textwrap.fill(text, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


@cache.command("explain")
@corpus_argument
@option("--clip", "clip_names", multiple=True, metavar="NAME", help="Explain this clip; can be given several times.")
@mode_option
@store_option
@dtype_option
@jobs_option
@common
def cache_explain(
    corpus: Path,
    clip_names: tuple[str, ...],
    modes: "tuple[FeatureMode, ...]",
    store: Path,
    dtype: "Dtype | None",
    jobs: int | None,
    as_json: bool,
) -> None:
    """Say in words why clips are done, stale or missing; end with 4 if a shard is bad.

    Compares the files of the corpus, the settings of this version and what the store holds; writes nothing. The frames
    stay unread: cli cache verify checks them. Without --mode: LH and X.

    \b
    Example:
      cli cache explain data
      cli cache explain data --clip dog-01.wav --mode lh
    """
    from cache.errors import IntegrityError
    from corpus.tables import read_corpus
    from featurize.explain import explain
    from featurize.jobs import count_jobs

    chosen = _in_dtype(modes, dtype)
    clips = read_corpus(corpus)
    with progress_bars() as bars:
        found = explain(store, chosen, clips, names=clip_names, jobs=count_jobs(jobs), progress=bars)
    named = bool(clip_names)
    show(_explain_result(found, named=named), _explain_text(found, named=named), as_json=as_json)
    if any(mode.bad for mode in found):
        raise click.exceptions.Exit(IntegrityError.exit_code)


def _explain_result(found: "Sequence[ModeReason]", *, named: bool) -> dict[str, Any]:
    """List every clip that was named, or else those that are not done."""
    modes = {
        reason.mode.name: {
            "store": str(reason.folder),
            "state": reason.state,
            "clips": reason.n_clips,
            **{state: reason.counts[state] for state in ("done", "stale", "missing", "quarantined", "gone")},
            "reasons": reason.reasons,
            "bad": reason.bad,
        }
        for reason in found
    }
    clips = [
        {"fname": clip.fname, "mode": clip.mode, "state": clip.state, "reason": clip.text}
        for reason in found
        for clip in reason.clips
        if named or clip.state != "done"
    ]
    return {"modes": modes, "clips": clips}


def _explain_text(found: "Sequence[ModeReason]", *, named: bool) -> str:
    lines: list[str] = []
    for reason in found:
        name, counts = reason.mode.name, reason.counts
        if named:
            lines += [f"{name}: {text}" for text in (*reason.bad, *(clip.text for clip in reason.clips))]
            continue
        parts = [f"{counts[state]} {state}" for state in ("stale", "missing", "quarantined") if counts[state]]
        lines.append(
            f"{name}: {reason.state}: " + ", ".join([f"{counts['done']} of {reason.n_clips} clips done", *parts])
        )
        lines += [f"  {text}" for text in reason.reasons]
    if any(reason.bad for reason in found):
        lines.append(next_step("cache repair"))
    elif any(reason.counts["stale"] or reason.counts["missing"] for reason in found):
        lines.append(next_step("featurize"))
    else:
        lines.append(next_step("train"))
    return "\n".join(lines)


@cache.command("prune")
@click.argument("corpora", nargs=-1, metavar="[CORPUS]...", envvar="EARMARK_CORPUS", type=click.Path(path_type=Path))
@store_option
@runs_option
@option("--dry-run", is_flag=True, help="List what would go, and stop.")
@option("--yes", is_flag=True, help="Do not ask.")
@option("--wait", is_flag=True, help="Wait for another run that holds the store.")
@jobs_option
@common
def cache_prune(
    corpora: tuple[Path, ...],
    store: Path,
    runs: Path,
    dry_run: bool,
    yes: bool,
    wait: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Remove what nothing refers to, asking first.

    That is: temporary files of killed runs; folders of known modes with settings that neither this version, nor the
    --config, nor a run has; rows with a newer one of the same name that no CORPUS (data/ where none is given and it is
    there) has the file of. Bad shards, folders of modes that are not known and files of others stay, and without a
    CORPUS all rows do. End trainings that read the store first.

    \b
    Example:
      cli cache prune --dry-run
      cli cache prune data other-data --yes
    """
    from cache.inventory import scan_store
    from cache.prune import plan_prune, prune
    from featurize.stored import known_fingerprints

    modes = _known_modes()
    known = known_fingerprints(runs, known=modes)
    superseded = {key for folder in scan_store(store) for key in folder.superseded.values()}
    corpora = corpora or tuple(path for path in [Path("data")] if path.is_dir())
    # Which of two rows of a name a corpus uses, only the corpus tells.
    keep = _keys_in_use(corpora, superseded, jobs) if corpora else superseded
    if superseded and not corpora:
        say(f"{len(superseded)} superseded rows stay: name the CORPUS folders that use this store to remove the others")
    plan = plan_prune(store, known=known, modes=modes, keep=keep)
    removals = [
        {"kind": item.kind, "path": str(item.path), "bytes": item.n_bytes, "reason": item.reason}
        for item in plan.removals
    ]
    result: dict[str, Any] = {"store": str(store), "dry_run": dry_run, "removals": removals, "freed_bytes": 0}
    result["left_alone"] = [{"path": str(path), "reason": reason} for path, reason in plan.left_alone]
    lines = [
        f"{item.kind}: {item.path.relative_to(plan.store)}: {human_bytes(item.n_bytes)}: {item.reason}"
        for item in plan.removals[:_LISTED]
    ]
    if len(removals) > _LISTED:
        lines.append(f"… and {len(removals) - _LISTED} more; --json lists them all")
    lines += [f"left alone: {path.relative_to(plan.store)}: {reason}" for path, reason in plan.left_alone]
    lines.append(f"to remove: {len(removals)}, about {human_bytes(plan.n_bytes)}" if removals else "nothing to remove")
    if dry_run and removals:
        lines.append("next: the same without --dry-run")
    if dry_run or not removals:
        show(result, "\n".join(lines), as_json=as_json)
        return
    for line in lines:
        say(line)
    _confirm(yes, f"Remove this from {store}?")
    report = prune(plan, wait=wait)
    result["freed_bytes"] = report.freed_bytes
    result["left_alone"] = [{"path": str(path), "reason": reason} for path, reason in report.left_alone]
    for path, reason in report.left_alone[len(plan.left_alone) :]:
        say(f"left alone: {path.relative_to(plan.store)}: {reason}")
    show(result, f"freed {human_bytes(report.freed_bytes)}\n{next_step('cache info')}", as_json=as_json)


def _keys_in_use(corpora: Sequence[Path], superseded: "set[Key]", jobs: int | None) -> "set[Key]":
    from corpus.tables import read_corpus
    from featurize.jobs import count_jobs
    from featurize.stored import keys_in_use

    found: set[Key] = set()
    with progress_bars() as bars:
        # Read even where no row is superseded: a mistyped CORPUS is an error, not an empty one.
        for corpus in corpora:
            clips = read_corpus(corpus)
            found |= keys_in_use(clips, superseded, jobs=count_jobs(jobs), progress=bars)
    return found


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _confirm(yes: bool, question: str) -> None:
    if yes:
        return
    if not _is_terminal():
        message = "there is nobody to ask, as standard input is not a terminal: give --yes to remove what is listed"
        raise click.UsageError(message)
    if not click.confirm(question, err=True):
        raise Failure("nothing was removed", 1)


@cache.command("pack")
@click.argument("out", type=click.Path(path_type=Path))
@mode_name_option
@store_option
@option("--force", is_flag=True, help="Replace the file if it is there.")
@common
def cache_pack(out: Path, modes: tuple[str, ...], store: Path, force: bool, as_json: bool) -> None:
    """Write the store into OUT, one portable HDF5 file, and read it back.

    Any HDF5 program reads the file; cli cache unpack makes the very store of it again. Without --mode: every folder.

    \b
    Example:
      cli cache pack features.h5
      cli cache pack lh.h5 --mode lh
    """
    import shlex

    from cache.pack import pack_store

    start = time.monotonic()
    with progress_bars() as bars:
        report = pack_store(store, out, modes=modes, force=force, progress=bars)
    seconds = round(time.monotonic() - start, 2)
    lines = [f"{name}: {row['rows']} clips in {row['shards']} shards" for name, row in report.folders.items()]
    lines.append(f"{out}: {human_bytes(report.n_bytes)}, read back and equal, {human_seconds(seconds)}")
    lines.append(f"next, elsewhere: cli cache unpack {shlex.quote(out.name)}")
    result = {"out": str(out), "bytes": report.n_bytes, "folders": report.folders, "seconds": seconds}
    show(result, "\n".join(lines), as_json=as_json)


@cache.command("unpack")
@click.argument("file", type=click.Path(path_type=Path))
@store_option
@option("--wait", is_flag=True, help="Wait for another run that holds the store.")
@common
def cache_unpack(file: Path, store: Path, wait: bool, as_json: bool) -> None:
    """Make a store of FILE again, which cli cache pack wrote.

    Every byte is checked. Whole shards that the store has already are kept.

    \b
    Example:
      cli cache unpack features.h5
    """
    from cache.unpack import unpack_store

    start = time.monotonic()
    report = unpack_store(file, store, wait=wait)
    seconds = round(time.monotonic() - start, 2)
    different = [str(path) for path in report.different]
    lines = [f"kept, but not with the bytes that were packed: {path}" for path in different]
    lines.append(
        f"{store}: {report.written} shards written ({report.identical} byte for byte as packed), "
        f"{report.kept} kept, {human_seconds(seconds)}"
    )
    lines.append(next_step("cache info"))
    result = {
        "store": str(store),
        "shards": report.shards,
        "written": report.written,
        "identical": report.identical,
        "kept": report.kept,
        "different": different,
        "seconds": seconds,
    }
    show(result, "\n".join(lines), as_json=as_json)


@cache.command("show")
@click.argument("clip")
@mode_name_option
@store_option
@option("--out", type=click.Path(path_type=Path), help="PNG to write.  [default: the clip's name with .png]")
@option("--force", is_flag=True, help="Replace the file if it is there.")
@common
def cache_show(clip: str, modes: tuple[str, ...], store: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Write a picture of a clip's spectrograms as they are stored: time in s, frequency in Hz, power in dB (dcase: ln).

    CLIP is its name in the clip table, such as dog-01.wav. Time begins with the first stored frame: leading silence was
    trimmed (dcase: not), and clips shorter than a window are padded on both sides. Without --mode: all modes that have
    the clip.

    \b
    Example:
      cli cache show dog-01.wav
      cli cache show dog-01.wav --mode x --out dog.png
    """
    from cache.outfile import check_out
    from corpus.files import shown_name
    from infer.clips import read_clip

    # Without a place to keep its caches matplotlib warns of the time it loses, which nobody here can use.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from infer.picture import check_suffix, picture_name, write_picture

    out = out or Path(picture_name(clip))
    stored, problems = read_clip(store, clip, modes, known=_known_modes())
    check_suffix(out)
    check_out(out, force=force)
    for mode, problem in problems.items():
        say(f"{mode}: quarantined: {problem}")
    write_picture(out, stored)
    shown = {item.mode: _stored_result(item) for item in stored}
    counts = ", ".join(f"{mode} {row['frames']} frames × {row['bands']} bands" for mode, row in shown.items())
    result = {"out": str(out), "clip": shown_name(clip), "modes": shown}
    show(result, f"{out}: {shown_name(clip)}: {counts}\nnext: look at {out}", as_json=as_json)


def _stored_result(clip: "StoredClip") -> dict[str, Any]:
    frames, bands = clip.frames.shape
    least, most = float(clip.frames.min()), float(clip.frames.max())
    return {"frames": frames, "bands": bands, "seconds": clip.seconds, "min_db": least, "max_db": most}


@cache.command("verify")
@store_option
@common
def cache_verify(store: Path, as_json: bool) -> None:
    """Check every byte of the store; end with 4 if a shard is bad.

    \b
    Example:
      cli cache verify
    """
    from cache import verify_store
    from cache.errors import IntegrityError, NotFoundError
    from corpus.files import shown_name

    if not store.is_dir():
        message = f"the store {store} is not there; run cli featurize, or name another with --store"
        raise NotFoundError(message)
    report = verify_store(store)
    bad = [
        {"path": shown_name(str(item.path)), "reason": item.reason, "clips": list(map(shown_name, item.clips))}
        for item in report.bad
    ]
    lines = []
    for item in bad:
        lines += [f"bad: {item['path']}: {item['reason']}", *(f"  clip: {name}" for name in item["clips"])]
    lines += [f"{report.shards} shards, {len(bad)} bad", *([next_step("cache repair")] if bad else [])]
    show({"ok": report.ok, "shards": report.shards, "bad": bad}, "\n".join(lines), as_json=as_json)
    if bad:
        raise click.exceptions.Exit(IntegrityError.exit_code)


@cache.command("repair")
@corpus_argument
@mode_option
@store_option
@jobs_option
@common
def cache_repair(corpus: Path, modes: "tuple[FeatureMode, ...]", store: Path, jobs: int | None, as_json: bool) -> None:
    """Mend the store: compute anew what is damaged, and nothing else; end with 4 if a shard stays bad.

    Rows that are whole are kept, whole shards are not touched. What cannot be mended is moved away, never deleted, and
    its clips are computed from CORPUS. Without --mode: all modes, with those of the --config.

    \b
    Example:
      cli cache repair data
      cli cache repair --mode lh --jobs 4
    """
    from cache.errors import IntegrityError
    from corpus.tables import read_corpus
    from featurize.jobs import count_jobs
    from featurize.repair import repair_store

    start = time.monotonic()
    clips = read_corpus(corpus)
    with progress_bars() as bars:
        report = repair_store(
            store, clips, modes=modes or None, known=_known_modes(), jobs=count_jobs(jobs), progress=bars
        )
    result = _repair_result(report, store) | {"seconds": round(time.monotonic() - start, 2)}
    show(result, _repair_text(result), as_json=as_json)
    if not report.ok:
        raise click.exceptions.Exit(IntegrityError.exit_code)


def _repair_result(report: "RepairReport", store: Path) -> dict[str, Any]:
    from corpus.files import shown_name

    def path(found: Path) -> str:
        return shown_name(str(store / found.relative_to(store.absolute())))

    return {
        "ok": report.ok,
        "shards": report.shards,
        "repaired": [
            {
                "path": path(item.path),
                "kept": item.kept,
                "recomputed": item.recomputed,
                "lost": list(map(shown_name, item.lost)),
                "same_bytes": item.same_bytes,
            }
            for item in report.repaired
        ],
        "moved": [{"path": path(item.path), "to": path(item.to), "reason": item.reason} for item in report.moved],
        "left": [{"path": path(item), "reason": reason} for item, reason in report.left],
        "computed": report.computed,
    }


def _repair_text(result: dict[str, Any]) -> str:
    same = {True: ", the same bytes as before", False: ", other bytes than before", None: ""}
    lines: list[str] = []
    for row in result["repaired"]:
        counts = f"{row['kept']} clips kept, {row['recomputed']} recomputed"
        lines.append(f"repaired: {row['path']}: {counts}{same[row['same_bytes']]}")
        lines += [
            f"lost: {name}: its file is gone from this corpus or changed; next: cli featurize" for name in row["lost"]
        ]
    lines += [f"moved: {row['path']} -> {row['to']}: {row['reason']}" for row in result["moved"]]
    lines += [
        f"{name}: computed {count} clips that no shard held any more" for name, count in result["computed"].items()
    ]
    lines += [f"left: {row['path']}: {row['reason']}" for row in result["left"]]
    counts = ", ".join(f"{len(result[key])} {key}" for key in ("repaired", "moved", "left"))
    lines.append(f"{result['shards']} shards: {counts}; {human_seconds(result['seconds'])}")
    return "\n".join([*lines, next_step("cache verify")])


def main() -> None:
    """Run the command line; the console scripts start here."""
    # The rows of large corpora are objects that stay: to look for garbage among them again and again takes two thirds
    # of the time of planning.
    gc.set_threshold(200_000)
    # Nor among what ends with the process anyway, which takes 0.4 s where numba is loaded.
    atexit.register(gc.freeze)
    cli(prog_name=Path(sys.argv[0]).name if sys.argv else "cli")


if __name__ == "__main__":
    main()
