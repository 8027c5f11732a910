"""What a wheel holds besides the package: the migrations, so that an installed Bursar can migrate.

An editable install gets none of it: it reads them from the checkout.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Wheel(BuildHookInterface[Any]):
    """Adds the folder of migrations to a wheel that is handed out."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add to ``build_data``; ``version`` is ``standard`` or ``editable``."""
        if version == "standard":
            for name in ("env.py", "script.py.mako", "versions"):
                build_data["force_include"][f"migrations/{name}"] = f"bursar/migrations/{name}"
