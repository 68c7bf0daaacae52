"""Which engine computes: by default, by environment, by block, by call; and what happens if one is broken."""

import asyncio
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore.__main__ import main
from rnncore.cells import CELLS
from rnncore.engines import current, engine, engines

PARAMS = rnncore.init_params("rnn", inputs=3, hidden=2, outputs=3)
TOKENS = np.array([0, 1, 2])


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in the environment of this one, changed."""
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith("RNNCORE_")}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_definition_always_works() -> None:
    assert rnncore.backends()[-1] == "numpy"
    assert engines()[0] == "numpy"
    assert set(rnncore.backends()) == {name.partition(".")[0] for name in engines()}
    assert current(None).name.partition(".")[0] == rnncore.backends()[0]


def test_engines_are_made_once_and_know_their_name(engine: str) -> None:
    made = rnncore.backends.__globals__["engine"]
    assert made(engine) is made(engine)
    assert made(engine).name == engine


def test_a_block_chooses_and_nests() -> None:
    before = current(None)
    with rnncore.use_backend("numpy"):
        assert current(None).name == "numpy"
        for name in engines():
            with rnncore.use_backend(name):
                assert current(None).name == name
                assert current("numpy").name == "numpy"
        assert current(None).name == "numpy"
    assert current(None) is before


def test_a_block_that_fails_is_left_as_well() -> None:
    before = current(None)
    with pytest.raises(KeyError), rnncore.use_backend("numpy"):
        raise KeyError
    with pytest.raises(ValueError, match="backend must be one of"), rnncore.use_backend("fast"):
        pass
    assert current(None) is before


def test_threads_choose_for_themselves() -> None:
    before, seen = current(None).name, []
    with rnncore.use_backend("numpy"):
        thread = threading.Thread(target=lambda: seen.append(current(None).name))
        thread.start()
        thread.join()
    assert seen == [before]


def test_tasks_choose_for_themselves() -> None:
    async def task(name: str, seen: list[Any]) -> None:
        with rnncore.use_backend(name):
            await asyncio.sleep(0.01)
            seen.append((name, current(None).name))
            await asyncio.sleep(0.01)

    async def both() -> list[Any]:
        seen: list[Any] = []
        await asyncio.gather(*(task(name, seen) for name in engines()))
        return seen

    assert sorted(asyncio.run(both())) == sorted((name, name) for name in engines())


@pytest.mark.parametrize("cell", CELLS)
def test_the_call_says_who_computes(cell: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called, real = [], current(engine)

    class Recorder:
        def __getattr__(self, method: str) -> Any:
            found = getattr(real, method)
            if not callable(found):
                return found

            def recorded(*arguments: Any) -> Any:
                result = found(*arguments)
                if result is not None:  # else it asks to be called again
                    called.append(method)
                return result

            return recorded

    monkeypatch.setitem(sys.modules["rnncore.engines"]._made, engine, Recorder())
    params = rnncore.init_params(cell, inputs=3, hidden=2, outputs=3)
    rnncore.bptt(params, [TOKENS], [TOKENS], backend=engine, threads=1)
    out = rnncore.forward(params, TOKENS, backend=engine)
    _, dy = rnncore.cross_entropy(out.y, TOKENS, backend=engine)
    rnncore.backward(params, out, dy=dy, backend=engine)
    rnncore.softmax(out.y, backend=engine)
    rnncore.sample(params, 0, np.array([0.5]), state=out.state, backend=engine)
    assert called == ["bptt", "forward", "loss", "backward", "softmax", "sample"]


@pytest.mark.parametrize("cell", CELLS)
def test_one_engine_goes_on_where_another_stopped(cell: str, engine: str) -> None:
    """States, and what forward kept for backward, are the same in all."""
    params = rnncore.init_params(cell, inputs=3, hidden=18, outputs=3)
    first, here = (rnncore.forward(params, TOKENS, backend=name) for name in ("numpy", engine))
    ones = tuple(np.ones(18) for _ in CELLS[cell].states)
    dstate = ones if len(ones) > 1 else ones[0]
    for out in (first, here):
        for name in ("numpy", engine):
            rest = rnncore.forward(params, TOKENS, state=out.state, backend=name)
            assert rest.y.tobytes() == rnncore.forward(params, TOKENS, state=first.state, backend="numpy").y.tobytes()
            back = rnncore.backward(params, out, dstate=dstate, backend=name)
            assert back.grads == rnncore.backward(params, first, dstate=dstate, backend="numpy").grads


def test_the_environment_chooses() -> None:
    code = "from rnncore.engines import current; print(current(None).name)"
    for name in engines():
        assert python(code, RNNCORE_BACKEND=name).stdout.strip() == name
    wrong = python(code, RNNCORE_BACKEND="abacus")
    assert wrong.returncode == 1
    assert "backend must be one of" in wrong.stderr
    assert "'abacus'" in wrong.stderr


@pytest.mark.skipif("cpp" not in rnncore.backends(), reason="the compiled core does not work here")
def test_the_environment_forces_an_instruction_set() -> None:
    code = "from rnncore.engines import current; print(current(None).name)"
    assert python(code, RNNCORE_ISA="baseline").stdout.strip() == "cpp.baseline"
    assert python(code, RNNCORE_ISA="baseline", RNNCORE_BACKEND="numpy").stdout.strip() == "numpy"
    wrong = python(code, RNNCORE_ISA="mmx")
    assert wrong.returncode == 1
    assert "RNNCORE_ISA='mmx'" in wrong.stderr


BROKEN = """
import importlib, importlib.machinery, importlib.util, sys
real = importlib.util.find_spec
def find_spec(name, package=None):  # both are there
    if name in ("rnncore._core", "numba"):
        return importlib.machinery.ModuleSpec(name, None)
    return real(name, package)
importlib.util.find_spec = find_spec
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name in BROKEN:
            raise ImportError(f"{name}: undefined symbol")
sys.meta_path.insert(0, Broken())
import rnncore
from rnncore.engines import current, engines
print(current(None).name, current(None).name, rnncore.backends(), engines())
try:
    current("cpp")
except ValueError as error:
    print(error)
"""


def test_a_core_that_does_not_load_is_told_once_and_done_without() -> None:
    result = python("BROKEN = ['rnncore._cpp', 'rnncore._numba']\n" + BROKEN)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("numpy numpy ['numpy'] ['numpy']")
    assert (
        "backend must be one that works here, 'numpy', got 'cpp': it does not load, ImportError: rnncore._cpp: "
        "undefined symbol" in result.stdout
    )
    told = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert len(told) == 1
    assert (
        "rnncore computes with numpy, with the same results, more slowly (cpp: it does not load, ImportError" in told[0]
    )
    assert "; numba: it does not load, ImportError: rnncore._numba: undefined symbol)" in told[0]


MISSING = """
import importlib.util
import rnncore
from rnncore import engines
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in MISSING else real(name, package)
engines.__file__ = FILE
print(engines.current(None).name)
print(rnncore.backends())
print(engines.not_working())
"""


@pytest.mark.parametrize("built", ["", "_core.cpython-309-x86_64-linux-gnu.so"])
def test_what_is_missing_is_named_once_with_the_remedy(tmp_path: Path, built: str) -> None:
    (tmp_path / "_core.pyi").touch()
    if built:
        (tmp_path / built).touch()
    code = f"FILE, MISSING = {str(tmp_path / 'engines.py')!r}, ['rnncore._core', 'numba']\n" + MISSING
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("numpy\n['numpy']\n{'cpp': ")
    told = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert len(told) == 1
    why = (
        f"it was built for another Python, {built}; install" if built else "was not built; install rnncore again where"
    )
    assert why in told[0]
    assert "numba: it is not installed; pip install numba" in told[0]
    assert python(code, RNNCORE_BACKEND="numpy").stderr == ""
    strict = python(code, PYTHONWARNINGS="error")  # the option -W of `python` comes first
    assert "RuntimeWarning" in strict.stderr


@pytest.mark.skipif("numba" not in rnncore.backends(), reason="Numba does not work here")
@pytest.mark.parametrize(
    ("before", "environment", "why"),
    [
        ("", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set"),
        (
            "import numba; numba.version_info = numba.version_info._replace(short=(0, 59))",
            {},
            "rnncore needs Numba 0.60",
        ),
    ],
)
def test_a_numba_that_does_not_work_is_not_listed(before: str, environment: dict[str, str], why: str) -> None:
    code = (
        before
        + """
import numpy, rnncore
from rnncore.engines import engines, not_working
print(rnncore.backends(), engines(), not_working()["numba"])
try:
    rnncore.softmax(numpy.zeros(1), backend="numba")
except ValueError as error:
    print(error)
"""
    )
    result = python(code, **environment)
    assert result.returncode == 0, result.stderr
    assert "'numba'" not in result.stdout.split(" it does")[0]
    assert result.stdout.count(why) == 2
    assert result.stderr == ""  # nothing is slower than it would be


@pytest.mark.skipif("numba" not in rnncore.backends(), reason="Numba does not work here")
def test_numba_works_where_its_code_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "import numpy, rnncore; print(rnncore.backends(), rnncore.softmax(numpy.zeros(1), backend='numba'))"
    result = python(code, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert "'numba'" in result.stdout
    assert "[1.]" in result.stdout


IN_ANOTHER_INTERPRETER = """
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
code = '\\n'.join([
    "import warnings",
    "warnings.simplefilter('ignore')",  # NumPy's, that it was not made for it
    "import numpy as np, rnncore",
    "params = rnncore.init_params('rnn', inputs=3, hidden=2, outputs=3)",
    "tokens = np.array([0, 1, 2])",
    "print('cpp' in rnncore.backends(), rnncore.bptt(params, tokens, tokens, backend='numpy').loss, flush=True)",
])
try:
    failed = interpreters.run_string(interpreters.create(), code)
except Exception as error:
    failed = error
if failed:
    print(failed)
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython has several interpreters in a process")
def test_in_another_interpreter() -> None:
    """As in servers that have several in a process: the core hung before 3.12. NumPy may refuse, from then on."""
    ran = python(IN_ANOTHER_INTERPRETER)
    want = rnncore.bptt(PARAMS, TOKENS, TOKENS, backend="numpy").loss
    assert ran.returncode == 0, ran.stderr
    works = f"{sys.version_info >= (3, 12)} {want}\n"
    assert ran.stdout == works or "interpreter" in ran.stdout, ran.stdout


def test_info_says_what_does_not_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("rnncore.engines._reasons", {"cpp": "it is broken"})
    monkeypatch.setattr("rnncore.engines._loaded", set())
    monkeypatch.setattr("rnncore.engines._made", {})
    monkeypatch.setattr("rnncore.engines._default", None)
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "cpp does not work here: it is broken" in out
    assert "cpp." not in out


def test_import_is_light() -> None:
    code = """
import time, numpy
start = time.process_time()
import rnncore
took = time.process_time() - start
import sys
assert "numba" not in sys.modules and "argparse" not in sys.modules, "heavy"
print(took)
"""
    took = min(float(python(code).stdout) for _ in range(3))
    assert took < 0.15 or not sys.platform.startswith("linux")  # elsewhere the limit is not known


@pytest.mark.skipif("cpp" not in rnncore.backends(), reason="the compiled core does not work here")
def test_what_is_not_needed_is_not_loaded() -> None:
    code = "import numpy, rnncore, sys; rnncore.softmax(numpy.zeros(1)); print(*sys.modules)"
    assert not {"numba", "rnncore._numpy.engine"} & set(python(code).stdout.split())


@pytest.mark.parametrize("cell", CELLS)
def test_numpy_goes_its_way_whatever_the_user_asked_of_errors(cell: str) -> None:
    tokens, labels = np.zeros(2, int), np.array([0, -1])
    finite = rnncore.init_params(cell, inputs=3, hidden=2, outputs=3)
    params = finite.copy()
    params.flat[:] = np.inf
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in engines():
            result = rnncore.bptt(params, tokens, labels, backend=name)
            assert np.isnan(result.loss)
            rnncore.bptt(finite, np.full((2, 3), 1e300), labels, backend=name)


def test_numpy_is_numpy() -> None:
    assert engine("numpy").elementary("exp", np.zeros(3)).tolist() == [1, 1, 1]
