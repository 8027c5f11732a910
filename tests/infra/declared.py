"""Every table that the program declares, wherever it does."""

import importlib
from pathlib import Path

import bursar
from bursar.infra.db import metadata

_DECLARES = ("tenant_table(", "global_table(")


def import_tables() -> list[str]:
    """Import every module that declares tables (most are called ``tables``) and return their names."""
    root = Path(bursar.__file__).parent
    names = []
    for path in sorted(root.rglob("*.py")):
        if path.name != "db.py" and any(word in path.read_text(encoding="utf-8") for word in _DECLARES):
            parts = path.relative_to(root.parent).with_suffix("").parts
            names.append(".".join(part for part in parts if part != "__init__"))
            importlib.import_module(names[-1])
    return names


def declared_tables() -> dict[str, object]:
    """Return the declared tables by name."""
    import_tables()
    return dict(metadata.tables)
