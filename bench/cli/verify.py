"""``pbench verify``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts.errors import DataError
from .options import jobs_option, json_option, load_plugins, plugin_option
from .progress import make_reporter
from .submit import data_of, data_option

if TYPE_CHECKING:
    from ..engine.verify import Report
    from ..engine.verify_claims import Problem

#: Problems that are printed of a bundle; `--json` has more.
SHOWN = 20


@click.command(short_help="Check bundles: files, cards, and their values against the predictions.")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rescore/--no-rescore",
    default=True,
    show_default=True,
    help="Score the predictions again and compare every value, which needs the data set.",
)
@click.option("--require-predictions", is_flag=True, help="A finished job without its predictions is a mistake.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@jobs_option
@data_option
@plugin_option
@json_option
def verify(
    bundles: tuple[Path, ...],
    rescore: bool,
    require_predictions: bool,
    quiet: bool,
    jobs: int,
    data: str | None,
    plugins: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> int:
    """Check whether BUNDLES are what they claim, and say in plain words what does not match.

    BUNDLES are folders that pbench submit has written, or folders of such. Files are bounded and hashed before they are read,
    no pickle is loaded and nothing in a bundle is run. Then the cards are held against rows, splits and the data that lie here,
    and archived predictions are scored again with the installed metrics. What a bundle does not hold (predicted cells, codes) is
    listed as not scored again and never counts as checked.

    \b
    Examples:
      pbench verify my-bundle
      pbench verify leaderboards/records --no-rescore
      pbench verify my-bundle --data my.h5ad --scale counts --control-label NT --json

    Exits with 1 if something does not match, with 3 if the data set is not here.
    """
    from ..engine.bundle import find_bundles
    from ..engine.run import limit_threads
    from ..engine.verify import verify_bundle

    found = load_plugins(plugins)
    folders: list[Path] = []
    for given_path in bundles:
        inside = find_bundles(given_path) if given_path.is_dir() else []
        if not inside:
            raise DataError(f"{given_path} is no folder of a bundle, and holds none. Write one with: pbench submit {given_path}")
        folders += inside
    limit_threads(jobs)
    reports = []
    with make_reporter(quiet=quiet or as_json) as reporter:
        for folder in dict.fromkeys(folders):
            report = verify_bundle(
                folder,
                lambda name: data_of(name, data, given),
                reporter,
                rescore=rescore,
                require_predictions=require_predictions,
                jobs=jobs,
                plugins=found,
            )
            reports.append(report)
            if not as_json:
                click.echo("\n".join(_lines(report)))
    if as_json:
        click.echo(json.dumps({"bundles": [r.to_dict() for r in reports]}, indent=1, sort_keys=True))
    if any(r.problems for r in reports):
        return 1
    return DataError.exit_code if any(r.missing for r in reports) else 0


def _lines(report: Report) -> Iterable[str]:
    """What is printed of a bundle."""
    meta = report.meta
    about = ""
    if meta:
        about = f": {report.jobs} job(s) of {len(meta['models'])} model(s) on {_safe(meta['dataset'])} / {_safe(meta['split'])}, id {meta['id'][:12]}"
    yield f"{report.folder}{about}"
    if report.rescored:
        yield f"  {report.verified:,} values scored again and the same."
    reasons: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    for (_, reason), n in report.unverified.items():
        reasons[reason] += n
        metrics[reason] += 1
    for reason, n in sorted(reasons.items()):
        yield f"  {n:,} values of {metrics[reason]} metric(s) not scored again: {reason}."
    for remark in report.remarks:
        yield f"  Note: {_safe(remark)}"
    for problem in report.problems[:SHOWN]:
        yield f"  Does not match: {_sentence(problem)}"
    if len(report.problems) > SHOWN:
        yield f"  and {len(report.problems) - SHOWN:,} more; --json lists them."
    if report.missing:
        yield f"  Not checked against the data: {_safe(report.missing)}"
    if report.problems:
        yield f"  {len(report.problems):,} thing(s) do not match."
    else:
        yield "  What could be checked matches."


def _sentence(problem: Problem) -> str:
    """Which model, metric and condition, what is claimed and what was found."""
    where = [_safe(problem.model)] if problem.model else []
    where += [f"fold {_safe(problem.fold)}"] if problem.fold not in ("", "1/1") else []
    where += [f"seed {problem.seed}"] if problem.seed is not None else []
    about = [_safe(problem.what, 2000)]
    about += [f"of {_safe(problem.metric)}"] if problem.metric else []
    about += [f"at {_safe(problem.condition)}"] if problem.condition else []
    text = (", ".join(where) + ": " if where else "") + " ".join(about)
    if problem.claimed or problem.found:
        text += f": claimed {_safe(problem.claimed or 'nothing')}, found {_safe(problem.found or 'nothing')}"
    return text + ("" if text.endswith(".") else ".")


def _safe(text: str, limit: int = 400) -> str:
    from ..engine.bundle_files import shown

    return shown(text, limit)
