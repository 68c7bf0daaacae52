"""The code is built as it says: the grid is true, instruction sets stay apart, and what is slow to import waits."""

import ast
import importlib.util
import pkgutil
import platform
import re
import shutil
import statistics
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

import rnncore
from rnncore.cells import CELLS
from rnncore.losses import LOSSES, NUMBERS

ROOT = Path(__file__).parents[1]
NUMPY, NUMBA, CPP = (ROOT / path for path in ("src/rnncore/_numpy", "src/rnncore/_numba", "cpp/column"))
OF_NETS = ("layer", "head", "layers", "stack", "stepping", "sampling")
ROWS = ("elementary", "linear", "softmax", *LOSSES, *CELLS, *OF_NETS, "optim")


CPP_NAMES = {
    "elementary": {"table": "Constants", "bits": None, "from_bits": None},  # a template; two casts in vector.hpp
    "linear": {
        "row_blocks": "RowBlocks",
        "lane_sum": "fold",
    },  # a type; the lanes are filled where their terms are made
    "softmax": {"parts": "exponentials"},  # one of the parts
    "head": {"loss_of": None},  # a choice in apply_loss
    "layer": {
        "cell_of": None,  # cells.hpp has a table
        "around_reset": None,  # each part is packed by itself
        "recurrent_part": None,  # product.hpp's, as the weights are packed
        "by_gate": None,  # the gates of a unit lie side by side
        "previous_states": None,  # they are rows of the same array
        "of_rows": "go_on",  # the sums of the steps after are where these go on
    },
    "layers": {
        "parts_of": None,  # they are counted
        "turn": "list_turned",  # numbers of rows
        "input_gradients": None,  # those of layer.hpp
        "as_rows": None,  # they are rows
        "states_of": None,  # the states before each step are rows of the trace
        "read_gradients": "mask_gradients",  # both directions add to the same rows
        "weight_gradients": None,  # a part's way back includes them: one_layer.hpp
    },
    "stack": {
        "read_by_head": None,  # one_layer.hpp and layers.hpp, where the output layer is
        "add_to_last": None,
        "gates": None,  # halves of backward: Ways says which
        "sums": None,
        "blocks_of": None,  # SumRows makes them
    },
}
"""Where C++ says the same in other words, or needs no word of its own."""

CPP_DEFINITION = re.compile(
    r"^ {0,2}(?:(?:RNNCORE_INLINE|constexpr|static|inline) )*"
    r"(?:struct (?P<type>\w+)(?:<\w+>)? \{"
    r"|[A-Za-z_][\w:]*(?:<[^;{}()]*>)?[ &*]+(?P<function>\w+)\([^;{}]*\)(?: const)? *\{)",
    re.MULTILINE,
)


def python_names(file: Path) -> list[str]:
    functions = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if not name.startswith("_")]


def cpp_names(row: str) -> list[str]:
    """Types and functions as they are first defined; a member function counts like any other."""
    text = "".join((CPP / f"{part}.hpp").read_text() for part in CPP_PARTS.get(row, (row,)))
    text = re.sub("//.*", "", text)
    names = [match["type"] or match["function"] for match in CPP_DEFINITION.finditer(text)]
    return list(dict.fromkeys(name for name in names if name not in ("if", "for", "while")))


CPP_PARTS = {"linear": ("product", "linear"), "layer": ("layer", "layer_sums")}
"""The files of what C++ has in several."""

NUMBA_ABSENT = {
    "head": {"loss_of"},  # a choice in row_loss
    "layer": {
        "by_gate",  # the gates of a unit are read where they lie
        "of_rows",  # sums are begun where they are
    },
    "layers": {
        "states_of",  # the states before each step are read where they lie
        "weight_gradients",  # a part's way back includes them: spans.py
        "as_rows",  # they are rows
    },
    "stack": {"blocks_of"},  # a sequence by itself is a problem of its own
}
"""What Numba needs no word for."""


@pytest.mark.parametrize("row", ROWS)
def test_numba_reads_like_the_definition(row: str) -> None:
    """Every function of the definition, in its order; helpers may stand between. No exception is made in vain."""
    absent, found = NUMBA_ABSENT.get(row, set()), python_names(NUMBA / f"{row}.py")
    definition = python_names(NUMPY / f"{row}.py")
    assert absent <= set(definition) - set(found)
    definition = [name for name in definition if name not in absent]
    assert definition == [name for name in found if name in definition]


@pytest.mark.parametrize("row", ROWS)
def test_cpp_reads_like_the_definition(row: str) -> None:
    if not CPP.is_dir():
        pytest.skip("the C++ sources are not beside these tests")
    own, found = CPP_NAMES.get(row, {}), cpp_names(row)
    definition = python_names(NUMPY / f"{row}.py")
    assert set(filter(None, own.values())) <= set(found)
    assert set(own) <= set(definition)
    assert not {name for name, other in own.items() if other is None} & set(found)
    definition = [name for name in definition if name not in own]
    assert definition == [name for name in found if name in definition]


def test_the_core_has_the_same_registry_of_cells() -> None:
    _core = pytest.importorskip("rnncore._core", reason="the compiled core is not built")
    numbers = {
        c: [len(r.gates), len(r.states), len(r.saved), r.own_recurrent_bias, r.gates_after_reset]
        for c, r in CELLS.items()
    }
    assert {name: row for name, *row in _core.cells()} == numbers


def test_the_core_has_the_same_registry_of_losses() -> None:
    """It knows them by number: one after the other, as the registry has them."""
    problem = CPP.parent / "problem.hpp"
    if not problem.is_file():
        pytest.skip("the C++ sources are not beside these tests")
    found = re.search(r"enum class Loss \{([^}]*)\};", problem.read_text())
    assert found is not None
    assert dict(zip(found[1].replace(" ", "").split(","), range(len(LOSSES)), strict=True)) == NUMBERS


VECTOR_SETS = re.compile(r"rnncore(4avx2|6avx512)")
"""In mangled names, rnncore::avx2 and rnncore::avx512."""


def output_of(*command: str) -> str:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def core() -> str:
    found = importlib.util.find_spec("rnncore._core")
    if found is None or found.origin is None:
        pytest.skip("the compiled core is not built")
    return found.origin


def imports(module: str, known: set[str]) -> set[str]:
    """The modules of the package that a module imports when it is itself imported."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    found = set()
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.ImportFrom):
            above = importlib.util.resolve_name("." * node.level + (node.module or ""), str(spec.parent))
            named = {f"{above}.{name.name}" for name in node.names}
            found |= {name if name in known else above for name in named} & known
    return found


def test_no_import_goes_in_a_circle() -> None:
    modules = {"rnncore", *(module.name for module in pkgutil.walk_packages(rnncore.__path__, "rnncore."))}
    sources = {name for name in modules if not name.endswith((".__main__", "._core"))}
    left = {name: imports(name, sources) for name in sources}
    while left:
        ready = {name for name, needed in left.items() if not needed & left.keys()}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: needed for name, needed in left.items() if name not in ready}


@lru_cache
def instructions() -> dict[str, set[str]]:
    """The mnemonics that each function of the core uses."""
    found: dict[str, set[str]] = {}
    for line in output_of("objdump", "-d", "--no-show-raw-insn", "-w", core()).splitlines():
        if line.endswith(">:"):
            function = found.setdefault(line.split("<", 1)[1][:-2], set())
        elif "\t" in line:
            function.add(line.split("\t")[1].split()[0])
    return found


def test_no_kernel_is_weak() -> None:
    """A weak symbol of one instruction set may be linked in the place of another's."""
    weak = [line for line in output_of("nm", core()).splitlines() if re.search(r" [WVu] \w*rnncore", line)]
    assert not weak


def test_only_the_module_s_own_function_is_exported() -> None:
    """Weak symbols, of the standard library too, would be shared with whatever else a process loads."""
    elf_only()
    exported = [line.split()[-1] for line in output_of("nm", "-D", "--defined-only", core()).splitlines()]
    assert exported == ["PyInit__core"]


def test_the_core_looks_for_no_library_where_it_was_built() -> None:
    elf_only()
    assert not re.search("R(UN)?PATH", output_of("readelf", "-d", core()))


def test_vector_instructions_stay_in_their_namespace() -> None:
    """Every VEX instruction's name begins with v. Outside of the sets that need them there is none, above all no
    vfmadd in the baseline, and no template of the standard library that was compiled for AVX."""
    x86_only()
    others = {name: used for name, used in instructions().items() if not VECTOR_SETS.search(name)}
    strays = {name: vex for name, used in others.items() if (vex := {m for m in used if m.startswith("v")})}
    assert any("8baseline" in name for name in others)
    assert not strays


def test_the_vector_sets_use_their_instructions() -> None:
    """The opposite, so that the test above cannot pass by looking in the wrong place."""
    x86_only()
    for name in ("avx2", "avx512"):
        used = set().union(*(m for f, m in instructions().items() if f"rnncore{len(name)}{name}" in f))
        assert any(mnemonic.startswith("vfmadd") for mnemonic in used)


def elf_only() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads ELF files")


def x86_only() -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("reads x86 machine code")


CALL = """
import sys
import numpy as np
import rnncore
params = rnncore.init_params("rnn", inputs=3, hidden=4, outputs=3)
for backend in {backends}:
    rnncore.bptt(params, np.array([0, 1, 2]), np.array([1, 2, 0]), backend=backend)
print("numba" in sys.modules)
"""


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter that finds what this one finds."""
    paths = f"import sys; sys.path[:] = {sys.path!r}\n"
    command = [sys.executable, *options, "-c", paths + code]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_numba_is_not_imported_with_rnncore() -> None:
    assert python(CALL.format(backends=[])).stdout == "False\n"


def test_numba_is_not_imported_by_a_call_on_another_engine() -> None:
    from rnncore.engines import engines

    others = [name for name in engines() if name != "numba"]
    assert python(CALL.format(backends=others)).stdout == "False\n"


def test_a_call_on_the_default_engine_does_not_import_numba() -> None:
    import rnncore

    if rnncore.backends()[0] != "cpp":
        pytest.skip("the compiled core is not built")
    assert python(CALL.format(backends=[None])).stdout == "False\n"


def import_time() -> float:
    """Seconds of work that ``import rnncore`` takes once NumPy is there; not those in which other programs run."""
    code = "import numpy, time; start = time.process_time(); import rnncore; print(time.process_time() - start)"
    return float(python(code).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is for Linux")
def test_import_is_quick() -> None:
    """Under 0.15 s beyond NumPy's own: the median of five, since other programs share the caches."""
    import_time()  # the files are on the way into memory
    assert statistics.median(import_time() for _ in range(5)) < 0.15
