"""What all tests share: the engines of this machine, and hypothesis without surprises."""

import os
import warnings

import hypothesis
import pytest

from rnncore.engines import current, engines

try:
    from rnncore._core import compiled_sets
except ImportError:  # then tests of the core are skipped, under this name
    CORE = ["cpp"]
else:
    CORE = [f"cpp.{isa}" for isa in compiled_sets()]  # those that this machine cannot run, too
ALL_ENGINES = ("numpy", "numba", *CORE)

# The nets of tests are small, and threads=2 is to be two threads all the same. The core reads it at the first call, and
# processes that tests start inherit it.
os.environ["RNNCORE_THREADS_ALWAYS"] = "1"

hypothesis.settings.register_profile(
    "rnncore",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("rnncore")


def required() -> set[str]:
    """The engines that RNNCORE_REQUIRE_ENGINES (names with commas between) promises."""
    return set(filter(None, os.environ.get("RNNCORE_REQUIRE_ENGINES", "").replace(" ", "").split(",")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take more than a minute as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def pytest_configure(config: pytest.Config) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the default is not the compiled core, where this is so
        current(None)
    missing = required() - set(engines())
    if missing:
        pytest.exit(f"RNNCORE_REQUIRE_ENGINES asks for {', '.join(sorted(missing))}: not here", returncode=1)


def pytest_report_header() -> str:
    return f"rnncore engines: {', '.join(engines())}"


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument ``fast_engine`` runs on every engine but numpy, one with ``engine`` on all.

    Last of all, so that the engines of one net follow each other and share its reference.
    """
    for argument, names in (("engine", ALL_ENGINES), ("fast_engine", ALL_ENGINES[1:])):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, [engine_or_skip(name) for name in names])


def engine_or_skip(name: str) -> object:
    missing = pytest.mark.skipif(name not in engines(), reason=f"the engine {name} does not work here")
    return pytest.param(name, marks=missing)
