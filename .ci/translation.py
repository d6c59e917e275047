"""The README in Chinese says what the README says: the same programs, and the same figures in the same rows."""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blocks(text):
    return re.findall(r"^```.*?^```", text, re.M | re.S)


def rows(text):
    """The figures and the words in back quotes of each row of a table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    figures = [Counter(re.findall(r"`[^`]+`|\d[\d,.]*\d|\d", line)) for line in lines]
    return list(zip(lines, figures))


def main():
    own = (ROOT / "README.md").read_text()
    other = (ROOT / "docs/README.zh-CN.md").read_text()
    wrong = [f"no block\n{block}" for block in blocks(own) if block not in blocks(other)]
    if len(rows(own)) != len(rows(other)):
        wrong.append("its tables have other rows")
    for (line, figures), (translated, there) in zip(rows(own), rows(other)):
        if figures != there:
            wrong.append(f"{line}\n{translated}")
    for text in wrong:
        print(f"docs/README.zh-CN.md differs: {text}", file=sys.stderr)
    return bool(wrong)


sys.exit(main())
