"""Takes sql/ and data/ along in the wheel; an editable install reads them from the checkout, not from a stale copy."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """hatchling calls `initialize` before it builds; `version` is `standard` or `editable`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= {name: f"zephyr_lab/_shipped/{name}" for name in ("sql", "data")}
