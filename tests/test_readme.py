"""What the documents show runs: every block of Python in README.md and docs/, and every example in a docstring."""

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnncore

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
DOCUMENTS = [path for path in PAGES if path.exists()]
PACKAGE = Path(rnncore.__file__).parent
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>>" in path.read_text("utf-8")]
LIBRARIES = ("torch", "jax", "mpi4py")
"""What some examples need, and not everybody has."""
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
FENCE = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> Iterator[tuple[int, str]]:
    """The line at which each fenced block of a language begins, and its code."""
    text = document.read_text("utf-8")
    for match in FENCE.finditer(text):
        if match["language"] == language:
            yield text.count("\n", 0, match.start("code")) + 1, match["code"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order and in one namespace, as a reader would type them; those with prompts print what they show."""
    skip_without_libraries(document)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(document, "python"):
        if code.lstrip().startswith(">>>"):
            run_prompts(code, names, document, line)
        else:
            exec(compile("\n" * (line - 1) + code, str(document), "exec"), names)


def skip_without_libraries(file: Path) -> None:
    for library in LIBRARIES:
        if re.search(rf"^(\s*>>> )?(import|from) {library}\b", file.read_text("utf-8"), re.MULTILINE):
            pytest.importorskip(library, reason=f"{library} is not installed")


def run_prompts(code: str, names: dict[str, object], document: Path, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(code, names, document.name, str(document), line - 1)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    failed, _ = runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert not failed, "".join(report)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstring_examples_run(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_libraries(source)
    monkeypatch.chdir(tmp_path)
    parts = ("rnncore", *source.relative_to(PACKAGE).with_suffix("").parts)
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    failed, tried = doctest.testmod(module, optionflags=OPTIONS)
    assert tried > 0
    assert not failed


def test_shell_blocks_are_known() -> None:
    """Shell commands are not run here; CI runs the README's. Each must be one of these programs."""
    programs = {"pip", "python", "pytest", "git", "cd", "ruff", "mypy", "sphinx-build", "torchrun", ".ci/run"}
    shown = [code for path in DOCUMENTS for shell in ("bash", "sh", "console") for _, code in blocks(path, shell)]
    lines = "".join(shown).splitlines()
    commands = [part.split()[0] for line in lines for part in re.split(r"&&|;", line.split("#")[0]) if part.strip()]
    assert {command for command in commands if "=" not in command} <= programs


def test_the_documents_are_here() -> None:
    if not (ROOT / "README.md").exists():
        pytest.skip("the documents are not beside these tests")
    assert any(True for _ in blocks(ROOT / "README.md", "python"))
