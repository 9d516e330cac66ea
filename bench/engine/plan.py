"""The matrix of jobs: frozen specifications whose hash is their identity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any

from ..contracts import registry
from ..contracts.errors import UsageError, suggestion
from ..contracts.identity import canonical_json, content_id, derived_seed
from ..contracts.metric import MetricInfo
from ..contracts.model import Capabilities, ReferenceRow, build
from .fingerprint import COMPILED, code_id, environment, function_id


@dataclass(frozen=True)
class Request:
    """A name with parameters as it is typed: ``ridge-pca[alpha=10]``."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = ",".join(f"{k}={v}" for k, v in sorted(self.params.items()))
        return f"{self.name}[{shown}]" if shown else self.name


def parse_requests(
    text: str | Iterable[str],
    known: Sequence[str],
    *,
    kind: str,
    groups: Mapping[str, str] | None = None,
    variants: Iterable[str] = (),
) -> list[Request]:
    """Requests in a comma list with globs, ``all``, names of groups and bracketed parameters.

    Parameters
    ----------
    groups
        Group of those names that have one: ``all`` and globs leave them out, the name of the group stands for them.
    variants
        Suffixes that any name, glob or group may have after a plus sign.

    Examples
    --------
    >>> [str(r) for r in parse_requests("add*,knn[k=3]", ["additive", "knn"], kind="model")]
    ['additive', 'knn[k=3]']
    >>> [str(r) for r in parse_requests("*+anchor", ["additive", "knn"], kind="model", variants=["anchor"])]
    ['additive+anchor', 'knn+anchor']

    Raises
    ------
    UsageError
        If a name matches nothing or the brackets are off.
    """
    text = text if isinstance(text, str) else ",".join(text)
    groups = groups or {}
    found: list[Request] = []
    for part in re.split(r",(?![^\[]*\])", text):
        part = part.strip()
        if not part:
            continue
        match = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]*)\])?", part)
        if not match:
            raise UsageError(f"'{part}' is not of the form name[parameter=value,...].")
        name, inside = match[1].strip(), match[2]
        params = dict(_parameter(item, part) for item in (inside or "").split(",") if item.strip())
        name, plus, suffix = (name, "", "") if name in known else _with_suffix(name)
        if plus and suffix not in variants:
            raise UsageError(f"'{part}': there is no variant '{suffix}' of a {kind}. {suggestion(suffix, variants)}")
        if name in groups.values() and name not in known:
            names = [n for n in known if groups.get(n) == name]
        elif name == "all" or "*" in name or "?" in name:
            pattern = "*" if name == "all" else name
            names = [n for n in known if fnmatchcase(n, pattern) and (n not in groups or pattern.startswith(groups[n]))]
        else:
            names = [name]
        if not names or (names == [name] and name not in known):
            raise UsageError(f"there is no {kind} '{name}'. {suggestion(name, known)} Type: pbench list {kind}s")
        found += [Request(f"{n}{plus}{suffix}", params) for n in names]
    if not found:
        raise UsageError(f"no {kind} was named. {suggestion('', known)}")
    unique = {str(r): r for r in found}
    return list(unique.values())


def _with_suffix(name: str) -> tuple[str, str, str]:
    base, plus, suffix = name.rpartition("+")
    return (base, plus, suffix) if plus else (name, "", "")


def _parameter(item: str, part: str) -> tuple[str, Any]:
    key, sep, value = item.partition("=")
    if not sep or not key.strip():
        raise UsageError(f"'{item.strip()}' in '{part}' is not of the form parameter=value.")
    return key.strip(), _value(value.strip())


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


@dataclass(frozen=True)
class JobSpec:
    """All that decides a model's answer on a split; `id` is its identity."""

    model: str
    params: Mapping[str, Any]
    model_code: str
    dataset: str
    data_id: str
    split: str
    split_id: str
    fold: str
    seed: int
    resources: Mapping[str, str]
    environment: Mapping[str, str]
    engine: str

    @cached_property
    def id(self) -> str:
        return content_id(asdict(self))

    @property
    def derived_seed(self) -> int:
        """Seed given to `fit`; hashed from named parts, so another model does not move it.

        The data are no part: the same cells in another file, format or order must give the same numbers. Nor is the suffix of a
        variant, which is to differ from its model in nothing else.
        """
        return derived_seed(self.seed, registry.models.split(self.model)[0], self.split, self.fold)

    @property
    def title(self) -> str:
        seed = f" seed {self.seed}" if self.seed else ""
        fold = "" if self.fold == "1/1" else f" fold {self.fold}"
        return f"{self.model} on {self.dataset} / {self.split}{fold}{seed}"


@dataclass(frozen=True)
class PlannedModel:
    """A model of the matrix: what is typed for it, its effective parameters and what it declares."""

    label: str
    name: str
    params: Mapping[str, Any]
    code: str
    origin: str
    reference_row: bool
    presets: Sequence[str]
    capabilities: Capabilities
    environment: Mapping[str, str]
    group: str = ""

    @classmethod
    def from_request(cls, request: Request, *, preset: str) -> PlannedModel:
        """Build the model once to check its parameters.

        Raises
        ------
        UsageError
            If the model cannot be imported or a parameter does not exist.
        """
        try:
            model_class = registry.models.get(request.name)
            applicable = preset if preset in {"standard", "quick", *getattr(model_class, "presets", {})} else "standard"
            model = build(model_class, dict(request.params), name=request.name, preset=applicable)
            params = model.get_params() if hasattr(model, "get_params") else dict(request.params)
            canonical_json(params)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"model '{request}' cannot be made: {type(error).__name__}: {error}; its constructor should only store "
                "parameters, and they must fit into JSON (no NaN)."
            ) from error
        capabilities = getattr(model_class, "capabilities", Capabilities())
        label = str(request)
        if applicable != "standard" and getattr(model_class, "presets", {}).get(applicable):
            label += f" ({applicable})"
        return cls(
            label=label,
            name=request.name,
            params=params,
            code=_code(model_class),
            origin=registry.models.entry(request.name).origin,
            presets=sorted(getattr(model_class, "presets", {})),
            reference_row=issubclass(model_class, ReferenceRow),
            capabilities=capabilities,
            environment=environment(capabilities.packages),
            group=registry.models.entry(request.name).group,
        )

    def seeds(self, asked: Sequence[int]) -> Sequence[int]:
        """The asked seeds, or only 0 for a model that does not depend on one."""
        return asked if self.capabilities.stochastic else (0,)


def _code(model_class: type) -> str:
    """Identity of a class's code; that of a variant is made of its own and of the model that it wraps."""
    wrapped = getattr(model_class, "wraps", None)
    own = code_id(model_class.__module__)
    return content_id([own, _code(wrapped)]) if wrapped else own


def scoring_id(job_id: str, metrics: Sequence[MetricInfo]) -> str:
    """Identity of a job's scores: the answer, the metrics with their versions and code, and the scoring itself."""
    return content_id([job_id, *_scoring(tuple(metrics))])


@cache
def _scoring(metrics: tuple[MetricInfo, ...]) -> tuple[Any, ...]:
    described = sorted((m.id, m.version, function_id(m.function), m.level, [*m.needs, *m.reads], m.headline) for m in metrics)
    code = [code_id(f"pbench.bench.engine.{name}") for name in ("score", "worker")]
    return described, code, environment(COMPILED)
