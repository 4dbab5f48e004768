#!/usr/bin/env python3
"""Zips each built function as `sam deploy` does and prints its size next to the goal. Run by `make release`."""

import zipfile
from io import BytesIO
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / ".aws-sam" / "build"
# The goal, in bytes: what is downloaded at each cold start.
ZIP_MAX = 2_500_000


def main() -> None:
    for bootstrap in sorted(BUILD.glob("*/bootstrap")):
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
            z.write(bootstrap, "bootstrap")
        size = len(packed.getvalue())
        print(f"{bootstrap.parent.name:24} {bootstrap.stat().st_size:>10,} bytes, zipped {size:>9,}{'  above the goal' if size > ZIP_MAX else ''}")


if __name__ == "__main__":
    main()
