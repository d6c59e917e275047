#!/usr/bin/env python3
"""Checks every crate in the lock file, offline: where it comes from, its licence, and the Rust it asks for; and that
what the library depends on directly has been looked at, and that none of our own crates runs code while it is built.

Known vulnerabilities need the advisory database, which is not on any package registry: `cargo deny check advisories`
is run as well where cargo-deny and a copy of the database are installed.
"""

import json
import re
import shutil
import subprocess
import sys

ALLOWED = {
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "CDLA-Permissive-2.0",
}


# Direct dependencies of the library, each looked at: maintained, widely used, and needed.
REVIEWED = {
    "base64",  # fields of group locks
    "bytes",  # keys and replies
    "clap",  # the command's words
    "clap_complete",  # its completions
    "clap_mangen",  # its manual page
    "dashmap",  # the tables of names
    "fred",  # the wire
    "futures-util",  # in the tree by fred
    "highway",  # fields of group locks
    "metrics",  # the feature of that name
    "nix",  # the command: process groups and the terminal
    "ratatui",  # the command: its live table
    "serde",  # the command: JSON
    "serde_json",  # the same
    "tokio",
    "tokio-stream",  # events
    "tracing",  # the feature of that name
    "uuid",  # ids of clients
}


def allowed(expression):
    """Whether some choice among the alternatives of an SPDX expression is allowed."""
    if not expression:
        return False
    expression = expression.replace("/", " OR ")
    tokens = re.findall(r"\(|\)|\bOR\b|\bAND\b|[^()\s]+(?: WITH [^()\s]+)?", expression)
    position = 0

    def primary():
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            value = either()
            position += 1
            return value
        return token in ALLOWED

    def both():
        nonlocal position
        value = primary()
        while position < len(tokens) and tokens[position] == "AND":
            position += 1
            other = primary()
            value = value and other
        return value

    def either():
        nonlocal position
        value = both()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            other = both()
            value = value or other
        return value

    return either()


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


def main():
    for text, expected in [("MIT/Apache-2.0", True), ("GPL-3.0", False), ("(MIT OR GPL-3.0) AND Unicode-3.0", True)]:
        assert allowed(text) is expected, text
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    own = set(metadata["workspace_members"])
    packages = {package["id"]: package for package in metadata["packages"]}
    root = next(package for package in packages.values() if package["name"] == "redlatch")
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    # What users compile: normal dependencies of the library, over all targets.
    shipped, left = set(), [root["id"]]
    while left:
        node = left.pop()
        if node in shipped:
            continue
        shipped.add(node)
        for dependency in nodes[node]["deps"]:
            if any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"]):
                left.append(dependency["pkg"])
    faults = []
    for dependency in root["dependencies"]:
        if dependency["kind"] is None and dependency["name"] not in REVIEWED:
            faults.append(f"{dependency['name']} is a direct dependency that nobody has reviewed: see REVIEWED")
    for member in own:
        if any("custom-build" in target["kind"] for target in packages[member]["targets"]):
            faults.append(f"{packages[member]['name']} has a build script")
    for package in packages.values():
        name = f"{package['name']} {package['version']}"
        if package["id"] not in own and not (package["source"] or "").startswith("registry+"):
            faults.append(f"{name} does not come from the registry")
        if not allowed(package["license"]):
            faults.append(f"{name} is licensed under {package['license']}")
        needs = package["rust_version"]
        if package["id"] in shipped and needs and version(needs) > version(root["rust_version"]):
            faults.append(f"{name} needs Rust {needs}")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(packages)} crates checked, {len(shipped)} of them in what users compile on any target with all features")
    if shutil.which("cargo-deny"):
        subprocess.run(["cargo", "deny", "--offline", "check", "advisories"], check=False)
    else:
        print("advisories: not checked, since cargo-deny and its database are not installed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
