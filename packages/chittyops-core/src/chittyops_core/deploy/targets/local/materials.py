"""The bill of materials of an artifact: what is in its environment, as CycloneDX 1.6.

The same environment gives the same bytes: no time, no serial number, everything sorted. So its
SHA-256 says whether two hosts run the same packages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chittyops_core._kit import files

__all__ = ["NAME", "write_materials"]

NAME = "sbom.json"
"""Of the file, beside an artifact's files and environment."""


def write_materials(artifact: Path) -> None:
    """Write the bill of materials of what was built in the folder *artifact*."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "artifact", "version": artifact.name}
        },
        "components": [*_interpreter(artifact / "venv"), *_packages(artifact / "venv")],
    }
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True)
    files.write_durably(artifact / NAME, text + "\n")


def _interpreter(venv: Path) -> Iterator[dict[str, Any]]:
    """Yield the Python that the environment was made from (pyvenv.cfg, PEP 405)."""
    settings = venv / "pyvenv.cfg"
    lines = settings.read_text().splitlines() if settings.is_file() else []
    known = {key.strip(): value.strip() for key, _, value in (ln.partition("=") for ln in lines)}
    if version := known.get("version_info") or known.get("version"):
        name = known.get("implementation", "CPython").lower()
        yield {"type": "platform", "name": name, "version": version}


def _packages(venv: Path) -> list[dict[str, Any]]:
    """Return the distributions in *venv*, by purl; nothing of them is imported or run."""
    found = {}
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        component = _component(folder)
        found[component["purl"]] = component
    return [found[purl] for purl in sorted(found)]


def _component(folder: Path) -> dict[str, Any]:
    """Return a package by its metadata; by its folder's name (PEP 376) where that is no text."""
    metadata = folder / "METADATA"
    text = metadata.read_text(errors="replace") if metadata.is_file() else ""
    headers = HeaderParser().parsestr(text)
    first, _, second = folder.name.removesuffix(".dist-info").partition("-")
    name, version = str(headers["Name"] or first), str(headers["Version"] or second)
    plain = re.sub(r"[-_.]+", "-", name).lower()  # PyPA's normalised names, as purl wants them
    purl = f"pkg:pypi/{quote(plain, safe='')}@{quote(version, safe='.-_')}"
    component = {"type": "library", "name": name, "version": version, "purl": purl}
    return {**component, "bom-ref": purl}
