#!/usr/bin/env python3
"""Packs the functions of this build so that `sam deploy` takes them, as `sam build` would have: one zip per function with its
`bootstrap`, and a copy of infra/template.yaml in which each CodeUri names its zip. Nothing else of the template is changed.

The bundle test deploys that to ministack. Debug information stays out, and nothing is compressed: it goes no further than loopback.
"""

import argparse
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "CodeUri: ../functions"


def functions(template: str) -> dict[str, str]:
    """The binary of each function, by its name in the template."""
    found = re.findall(r"^  (\w+):\n    Type: AWS::Serverless::Function\n.*?^        Binary: ([\w-]+)$", template, re.M | re.S)
    return dict(found)


def pack(binary: Path, to: Path) -> None:
    bare = to.with_suffix(".bare")
    subprocess.run(["strip", "-o", bare, binary], check=True)
    # 1980 is the first year that a zip knows; the mode says that it may be run.
    entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o755 << 16
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, bare.read_bytes())
    bare.unlink()


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binaries", required=True, type=Path, help="where the built functions are, such as target/debug")
    p.add_argument("--to", required=True, type=Path, help="an empty folder, for template.yaml and the zips")
    args = p.parse_args()
    template = (ROOT / "infra" / "template.yaml").read_text()
    binaries = functions(template)
    parts = template.split(SOURCE)
    if len(parts) != len(binaries) + 1:
        print(f"pack: {len(binaries)} functions in the template, and {len(parts) - 1} times {SOURCE!r}", file=sys.stderr)
        return 1
    packed = parts[0]
    for (name, binary), rest in zip(binaries.items(), parts[1:]):
        zipped = args.to.resolve() / f"{name}.zip"
        pack(args.binaries / binary, zipped)
        packed += f"CodeUri: {zipped}{rest}"
    (args.to / "template.yaml").write_text(packed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
