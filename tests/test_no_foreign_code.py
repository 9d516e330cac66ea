"""What strangers write is data: the package neither unpickles nor evaluates anything, and looks for no code beside a file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for room in ("bench", "datasets", "leaderboards", "metrics", "models") for p in (ROOT / room).rglob("*.py"))
#: Calls that run what they read; by the last name, and with the module where the name alone means something else.
CALLS = {"eval", "exec", "compile", "execfile", "unpickle"}
METHODS = {
    ("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler"), ("cPickle", "load"), ("dill", "load"), ("dill", "loads"),
    ("cloudpickle", "load"), ("cloudpickle", "loads"), ("joblib", "load"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
    ("marshal", "load"), ("marshal", "loads"), ("shelve", "open"), ("yaml", "load"), ("torch", "load"), ("runpy", "run_path"),
}  # fmt: skip


def offences(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.id if isinstance(function, ast.Name) else ""
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            name = function.attr if (function.value.id, function.attr) in METHODS else ""
            # weights_only makes torch read arrays alone.
            if name and function.value.id == "torch" and any(k.arg == "weights_only" for k in node.keywords):
                name = ""
        elif name not in CALLS:
            name = ""
        if name:
            found.append(f"{name} in line {node.lineno}")
        found += [
            f"allow_pickle in line {node.lineno}"
            for k in node.keywords
            if k.arg == "allow_pickle" and getattr(k.value, "value", True)
        ]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    assert not offences(ast.parse(path.read_text())), path


@pytest.mark.parametrize(
    "line", ["eval(x)", "pickle.loads(x)", "np.load(p, allow_pickle=True)", "pd.read_pickle(p)", "torch.load(p)"]
)
def test_the_rule_sees_what_it_forbids(line):
    assert offences(ast.parse(line))
