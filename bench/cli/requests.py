"""What a command line asks for: models, splits, metrics and seeds, and the controls that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..contracts import registry
from ..contracts.errors import UsageError, suggestion
from ..contracts.model import ReferenceRow
from ..engine.plan import Request, parse_requests
from .options import chosen_among

#: What is scored: predictions of conditions, or latent variables of cells.
TRACKS = (PREDICTION, IDENTIFIABILITY) = ("prediction", "identifiability")
#: Data set and split of a track where none is named.
DEFAULTS = {PREDICTION: ("norman-sim", None), IDENTIFIABILITY: ("latent-static,latent-temporal", "units")}
#: Group of models that encode and predict nothing.
ENCODERS = "encoders"
#: Positive controls, then negative ones: no number of a board means much without them.
CONTROLS = ("oracle-mean", "technical-duplicate", "interpolated-duplicate", "train-mean", "no-change", "shuffled")
#: Beside the mean of the true cells, a draw of the cells themselves, which the legacy metrics rank below it.
LEGACY_CONTROL = "oracle-sampler"
#: Seeds that can be asked for: a typing mistake shall not fill the memory.
MOST_SEEDS = 10_000
#: What codes are worth that know everything, everything but the axes, nothing, or the labels alone; and the oldest methods.
CODE_CONTROLS = ("oracle-code", "rotated-code", "noise-code", "untrained-code", "label-code", "pca", "ica")


def model_requests(text: str, track: str = PREDICTION) -> list[Request]:
    """Registered models by name, glob, group or ``all``, with parameters.

    On the track of identifiability ``all`` and globs mean the models that encode cells, those that do nothing else among them.
    """
    groups = registry.models.groups()
    if track == IDENTIFIABILITY:
        encoders = [name for name, group in groups.items() if group == ENCODERS]
        groups = {name: group for name, group in groups.items() if group != ENCODERS}
        text = ",".join(",".join(encoders) if part.strip() == ENCODERS else part for part in text.split(","))
    found = parse_requests(
        text,
        chosen_among(registry.models, text),
        kind="model",
        groups=groups,
        variants=registry.models.variants(),
    )
    if track == IDENTIFIABILITY:
        spelled = {part.partition("[")[0].strip() for part in text.split(",")}
        found = [r for r in found if r.name in spelled or hasattr(registry.models.get(r.name), "encode")]
        return found
    # What is made of test cells is nobody's prediction to build on; "all+anchor" means the models.
    kept = [r for r in found if not _varies_reference(r.name)]
    if not kept:
        raise UsageError(f"--models {text}: reference rows have no variants.")
    return kept


def _varies_reference(name: str) -> bool:
    base, suffix = registry.models.split(name)
    model_class = registry.models.get(base) if suffix else None
    return isinstance(model_class, type) and issubclass(model_class, ReferenceRow)


def controls_of(metrics: Sequence[str], track: str = PREDICTION) -> tuple[str, ...]:
    """The controls of a track; for predictions `LEGACY_CONTROL` among them where one of the metrics is a legacy metric."""
    from ...metrics import PROFILES

    if track == IDENTIFIABILITY:
        return CODE_CONTROLS
    legacy = not set(metrics).isdisjoint(PROFILES["legacy"])
    return (CONTROLS[0], LEGACY_CONTROL, *CONTROLS[1:]) if legacy else CONTROLS


def with_controls(text: str, metrics: Sequence[str], track: str = PREDICTION) -> list[Request]:
    """The same, followed by those of the controls of the metrics that are not among them."""
    asked = model_requests(text, track)
    return asked + [Request(name) for name in controls_of(metrics, track) if str(Request(name)) not in map(str, asked)]


def split_requests(text: str | None) -> list[Request | Path]:
    """Registered splits with parameters, and manifest files; nothing where nothing was said.

    Raises
    ------
    UsageError
        If a name is unknown, or the text is empty.
    """
    if text is None:
        return []
    if not text.strip():
        raise UsageError(f"--split '{text}' names no split. {suggestion('', registry.splits.names())} Type: pbench list splits")
    if text.endswith(".json") or "/" in text:
        return [Path(p.strip()).expanduser().resolve() for p in text.split(",")]
    return list(parse_requests(text, registry.splits.names(), kind="split"))


def parse_seeds(text: str) -> tuple[int, ...]:
    """``0,1,2`` or ``0-4`` name seeds; a number alone says how many, from 0 on.

    >>> parse_seeds("0-2,7"), parse_seeds("3")
    ((0, 1, 2, 7), (0, 1, 2))
    """
    seeds: list[int] = []
    try:
        if text.strip().isdecimal() and int(text):
            return _few(range(int(text)), text)
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            seeds += _few(range(int(first), int(last) + 1), text) if dash else [int(first)]
    except ValueError:
        raise UsageError(f"--seeds '{text}': give whole numbers and ranges such as 0,1,2 or 0-4.") from None
    if not seeds:
        raise UsageError(f"--seeds {text} names no seed.")
    return tuple(dict.fromkeys(seeds))


def _few(seeds: range, text: str) -> tuple[int, ...]:
    # Not their length, which has to fit into 64 bits.
    if seeds.stop - seeds.start > MOST_SEEDS:
        raise UsageError(
            f"--seeds {text[:40]} are more seeds than make sense, and {MOST_SEEDS:,} are the most; name fewer, such as 5 or 0-4."
        )
    return tuple(seeds)


def parse_metrics(text: str, track: str = PREDICTION) -> tuple[str, ...]:
    """Ids of a profile or of a comma list; ``full`` and globs mean the metrics of the track."""
    from ...metrics import PROFILES

    known = chosen_among(registry.metrics, text)
    spelled = {part.strip() for part in text.split(",")}
    known = [n for n in known if n in spelled or registry.metrics.get(n).of_latents == (track == IDENTIFIABILITY)]
    if text == "full" or (text == "headline" and track == IDENTIFIABILITY):
        return tuple(n for n in known if text == "full" or registry.metrics.get(n).headline)
    if text in PROFILES:
        return PROFILES[text]
    found = parse_requests(text, known, kind="metric")
    if given := [r for r in found if r.params]:
        raise UsageError(f"--metrics {given[0]}: a metric has no parameters. Type: pbench list metrics")
    return tuple(r.name for r in found)
