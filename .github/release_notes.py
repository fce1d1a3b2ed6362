"""Prints the section of CHANGELOG.md that a tag is about; exit 1 where the tag is not the version, or has no section.

python .github/release_notes.py v0.1.0
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(tag: str) -> str:
    """The Markdown below the section's heading. Raises ValueError where the tag does not fit."""
    source = (ROOT / "zephyr_lab" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if not version or tag != f"v{version[1]}":
        raise ValueError(f"the tag {tag} is not v{version and version[1]}, the version in zephyr_lab/__init__.py")
    for section in re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if re.fullmatch(rf"\[?{re.escape(version[1])}\]? - \d{{4}}-\d\d-\d\d", heading):
            return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no section '## [{version[1]}] - YYYY-MM-DD'")


if __name__ == "__main__":
    try:
        print(notes(sys.argv[1]), end="")
    except ValueError as error:
        sys.exit(str(error))
