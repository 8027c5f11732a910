"""The checks that keep the house in shape: sizes, floorplan names, docstrings, banned addresses."""

import ast
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "bursar"
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
FLOORPLAN = {"__init__", "rules", "tables", "store", "learn", "service", "api", "jobs"}
OPEN_FOLDERS = {"rules", "store", "models"}
"""Folders of a feature that may be split by noun (or hold data)."""

MODULES = sorted(SOURCE.rglob("*.py"))


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring: telling more must not be a reason to split."""
    first = node.body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if told else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_is_small_and_so_are_its_functions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)

    long = [f"{node.name} has {_lines(node)} lines" for node in _functions(tree) if _lines(node) > FUNCTION_LINES_MAX]

    assert len(text.splitlines()) <= MODULE_LINES_MAX, "split it by noun"
    assert not long


def _stray(feature: Path) -> Iterator[str]:
    """Yield modules of a feature package, or of feature packages inside it, that are not on the floorplan."""
    for entry in sorted(feature.iterdir()):
        if entry.name == "__pycache__":
            continue
        if entry.is_dir() and entry.name in OPEN_FOLDERS:
            continue
        if entry.is_dir():
            if (entry / "__init__.py").exists():
                yield from _stray(entry)
        elif entry.suffix == ".py" and entry.stem not in FLOORPLAN:
            yield str(entry.relative_to(SOURCE))


def test_feature_packages_keep_to_the_floorplan() -> None:
    features = [path for floor in ("core", "parts") for path in (SOURCE / floor).iterdir() if path.is_dir()]

    stray = [name for feature in features if feature.name != "__pycache__" for name in _stray(feature)]

    assert not stray


def test_init_files_of_features_hold_no_code() -> None:
    for floor in ("core", "parts"):
        for path in (SOURCE / floor).rglob("__init__.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            beyond = [node for node in tree.body if not isinstance(node, ast.Expr)]
            assert not beyond, path


def test_a_feature_imports_another_feature_by_its_service_only() -> None:
    wrong = []
    for path in MODULES:
        parts = path.relative_to(SOURCE).parts
        if parts[0] not in {"core", "parts"}:
            continue
        own = ".".join(("bursar", *parts[:2]))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                foreign = re.match(r"bursar\.(core|parts)\.(\w+)(?:\.(.+))?$", name)
                if not foreign or f"bursar.{foreign[1]}.{foreign[2]}" == own or foreign[3] is None:
                    continue
                if "service" not in foreign[3].split("."):
                    wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert not wrong


_BOUND = re.compile(
    r"limit|returning|bounded|\.of\(|\.page\(|unnest|values\(|\.in_\(|any\(|any_|row_number", re.IGNORECASE
)


def test_no_query_is_unbounded() -> None:
    """Every ``tx.all(…)`` stands in a function that limits it, or says in words why it is bounded."""
    unbounded = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for function in _functions(ast.parse(text)):
            for call in ast.walk(function):
                asks = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "all"
                if not asks or not isinstance(call.func.value, ast.Name) or call.func.value.id != "tx":  # type: ignore[attr-defined]
                    continue
                if not _BOUND.search(ast.get_source_segment(text, function) or ""):
                    unbounded.append(f"{path.relative_to(SOURCE)}:{call.lineno} {function.name}")  # type: ignore[attr-defined]
    assert not unbounded


def _loose(annotation: ast.expr) -> str:
    """Say what is loose about the type of something that is asked for, or nothing."""
    text, names = ast.unparse(annotation), {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    if "date" in names:
        return "takes numbers for days; use Day"
    return (
        "takes true for 1; say strict=True"
        if "int" in names and "Query(" not in text and "strict=True" not in text
        else ""
    )


def test_what_is_asked_for_is_not_guessed_from_another_type() -> None:
    loose = []
    for path in SOURCE.rglob("api.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id == "In" for base in node.bases
            ):
                asked = [each.annotation for each in node.body if isinstance(each, ast.AnnAssign)]
            elif (
                isinstance(node, ast.Subscript)
                and "Query(" in ast.unparse(node)
                and ast.unparse(node.value) == "Annotated"
            ):
                asked = [node]
            else:
                continue
            loose += [f"{path.parent.name}/api.py:{each.lineno} {_loose(each)}" for each in asked if _loose(each)]
    assert not loose


def test_public_functions_say_what_they_do() -> None:
    silent = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        silent += [
            f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not silent


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name.decode() for name in listed.split(b"\0") if name]


def test_locks_carry_hashes_and_no_address() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text, lock


def test_project_names_no_registry_host_and_no_path_of_a_machine() -> None:
    words = ("pypi" + ".org", "pythonhosted" + ".org", "registry" + ".npmjs", "deb" + ".debian", "/work" + "/main")
    hits = []
    for path in _tracked():
        if not path.exists() or path.suffix in {".png", ".parquet", ".gz"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        hits += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert not hits


def test_no_uv_lock_is_committed() -> None:
    assert not (ROOT / "uv.lock").exists()


def test_a_wheel_holds_the_migrations_and_an_editable_install_none(tmp_path: Path) -> None:
    builder = WheelBuilder(str(ROOT))
    names = {}
    for version in ("standard", "editable"):
        [made] = builder.build(directory=str(tmp_path / version), versions=[version])
        with zipfile.ZipFile(made) as wheel:
            names[version] = {name for name in wheel.namelist() if name.startswith("bursar/migrations/")}

    kept = {f"bursar/migrations/versions/{path.name}" for path in (ROOT / "migrations/versions").glob("*.py")}
    assert names["standard"] >= kept | {"bursar/migrations/env.py"}
    assert not names["editable"]
