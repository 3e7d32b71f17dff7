"""Prints the notes of a release: `python3 .github/release_notes.py v0.1.0`.

Fails if the tag is not `v` and the workspace's version, or if CHANGELOG.md has no dated section for this
version.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def workspace_version() -> str:
    manifest = (ROOT / "Cargo.toml").read_text()
    (version,) = re.findall(r'^\[workspace\.package\]\nversion = "(.+)"$', manifest, re.MULTILINE)
    return version


def release_notes(changelog: str, version: str) -> str:
    """The text below the heading `## [version] - date`, up to the next section or the link references."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    found = re.search(rf"{heading}(.*?)(?=^## |^\[[^\]]+\]: |\Z)", changelog, re.DOTALL | re.MULTILINE)
    if not found or not found[1].strip():
        sys.exit(f"CHANGELOG.md has no section `## [{version}] - DATE` with content")
    return found[1].strip()


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: release_notes.py TAG")
    tag, version = sys.argv[1], workspace_version()
    if tag != f"v{version}":
        sys.exit(f"the tag is {tag}, but the version in Cargo.toml is {version}")
    print(release_notes((ROOT / "CHANGELOG.md").read_text(), version))


if __name__ == "__main__":
    main()
