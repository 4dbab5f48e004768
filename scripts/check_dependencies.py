#!/usr/bin/env python3
"""Checks every dependency: its licence, that it comes from crates.io, and that no second TLS stack is in the tree.

The lists are those of deny.toml. Calls nothing but `cargo metadata`; once the dependencies are fetched, it needs no network.
Exit status 0: all is well; 1: each dependency that is not, by name, with what is wrong with it.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# Where Vesper runs: what only another system would compile is not looked at for its licence.
TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"]


def satisfied(expression, allowed):
    """Whether one of the ways to read an SPDX expression needs allowed licences only."""
    # Old manifests write `MIT/Apache-2.0` and mean OR.
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        ok = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            ok = all_of() or ok
        return ok

    def all_of():
        ok = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            ok = one() and ok
        return ok

    def one():
        if not tokens:
            raise ValueError(expression)
        token = tokens.pop(0)
        if token == "(":
            ok = alternatives()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError(expression)
            return ok
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0) if tokens else ''}"
        return token in allowed

    ok = alternatives()
    if tokens:
        raise ValueError(expression)
    return ok


def packages(target):
    """The packages that a build for the target uses, as `cargo metadata` tells them."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features", "--filter-platform", target]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"`{' '.join(command)}` failed: see above")
    metadata = json.loads(done.stdout)
    members = set(metadata["workspace_members"])
    return [p for p in metadata["packages"] if p["id"] not in members]


def banned(package, bans):
    """The reason why this package may not be in the tree, if there is one."""
    for ban in bans:
        name, _, version = ban["crate"].partition("@")
        if package["name"] == name and (package["version"] + ".").startswith(version + "." if version else ""):
            return ban["reason"]
    return None


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    wrong = set()
    looked_at = {p["id"]: p for target in TARGETS for p in packages(target)}
    for package in looked_at.values():
        name, licence = f"{package['name']} {package['version']}", package["license"]
        try:
            if not licence or not satisfied(licence, allowed):
                wrong.add(f"{name}: its licence is {licence or 'not told'}, which deny.toml does not allow")
        except ValueError:
            wrong.add(f"{name}: its licence cannot be read: {licence}")
    # The whole lock file: what another system would compile counts here, too.
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    for package in locked:
        name = f"{package['name']} {package['version']}"
        if reason := banned(package, rules["bans"]["deny"]):
            wrong.add(f"{name}: is banned: {reason}; `cargo tree --target all -i {package['name']}` tells who brings it")
        if package.get("source", CRATES_IO) != CRATES_IO:
            wrong.add(f"{name}: comes from {package['source']}, not from crates.io")
    for line in sorted(wrong):
        print(line)
    print(f"{len(looked_at)} dependencies looked at, {len(locked)} in Cargo.lock: {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
