"""Mends the line numbers in the documents' pointers at code, after the code has moved.

A pointer is a link [`code as it stands on its line`](../path/file.py#L42). Where a file has that code on one line
only, the number follows it; tests/test_structure.py says what is left to mend by hand.
"""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
POINTER = re.compile(r"(\[`(?P<code>[^`]+)`\]\((?P<file>[^)#\s]+)#L)(?P<line>\d+)\)")


def renumbered(pointer: re.Match[str]) -> str:
    """The pointer with the number of the one line that has its code."""
    lines = (DOCS / pointer["file"]).read_text().splitlines()
    places = [n for n, line in enumerate(lines, 1) if pointer["code"] in line]
    return f"{pointer[1]}{places[0]})" if len(places) == 1 else pointer[0]


def main() -> None:
    """Rewrite the documents that have changed."""
    for document in DOCS.glob("*.md"):
        text = document.read_text()
        mended = POINTER.sub(renumbered, text)
        if mended != text:
            document.write_text(mended)


if __name__ == "__main__":
    main()
