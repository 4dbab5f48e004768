#!/usr/bin/env python3
"""Zips each built function as `sam deploy` does and prints its size; one above the goal ends this with 1. Run by `make release`."""

import sys
import zipfile
from io import BytesIO
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / ".aws-sam" / "build"
# The goal, in bytes: what is downloaded at each cold start.
ZIP_MAX = 2_500_000


def main() -> int:
    above = 0
    for bootstrap in sorted(BUILD.glob("*/bootstrap")):
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
            z.write(bootstrap, "bootstrap")
        size = len(packed.getvalue())
        above += size > ZIP_MAX
        print(f"{bootstrap.parent.name:24} {bootstrap.stat().st_size:>10,} bytes, zipped {size:>9,}{'  above the goal' if size > ZIP_MAX else ''}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
