"""What a wheel takes along from beside the package; an editable install reads it from the checkout, not from a copy."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("sql", "data", "docs", "notebooks")


class CustomBuildHook(BuildHookInterface):
    """hatchling calls `initialize` before it builds; `version` is `standard` or `editable`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= {name: f"zephyr_lab/_shipped/{name}" for name in FOLDERS}
