"""The files of the two packages, and what they import."""

import ast
import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "speechbrain_llsa"
RUNTIME = ROOT / "runtime" / "speechbrain_llsa_runtime"

PYTHON_PATH = f"{ROOT}{os.pathsep}{RUNTIME.parent}"
"""What lets a program import both, wherever it runs."""

FILES = sorted(
    path
    for package in (PACKAGE, RUNTIME)
    for path in package.rglob("*.py")
    if path != package / "__init__.py"
)


def imported_modules(path):
    """Names of all modules that a file imports, at any depth; those of
    relative imports begin with a dot."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names
