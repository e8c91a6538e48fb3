"""The launchers: a fresh folder becomes a working program, once, and says clearly when it cannot.

Each test has a small tree of its own: bin/environment.sh and a launcher of the real ones' form, an empty lock file (so
that no package is fetched), and a module that prints what it was given.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = str(Path(sys.executable).resolve())

PROBE = """\
import json, os, signal, sys
held = [signal.Signals(each).name for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
said = {"args": sys.argv[1:], "cwd": os.getcwd(), "python": sys.executable, "file": __file__, "held": held}
print(json.dumps(said))
sys.exit(7 if "fail" in sys.argv else 0)
"""

Run = subprocess.CompletedProcess[str]


def make_tree(root: Path) -> Path:
    """A program with one launcher."""
    (root / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "environment.sh", root / "bin")
    text = (ROOT / "bin" / "arimon-ctl").read_text().replace("run wire.control.cli", "run probe.main")
    assert "probe.main" in text
    executable(root / "bin" / "probe", text)
    (root / "requirements.lock").write_text("# nothing\n")
    (root / "probe").mkdir()
    (root / "probe" / "main.py").write_text(PROBE)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """A program that was started three times at once, in a folder with a space in its name, and what was said."""
    root = make_tree(tmp_path_factory.mktemp("made") / "a program")
    command = [str(root / "bin" / "probe"), "a b", "", "*"]
    environ = os.environ | {"ARIMON_PYTHON": PYTHON}
    with ThreadPoolExecutor() as pool:
        runs = list(
            pool.map(
                lambda _: subprocess.run(command, cwd=root.parent, env=environ, capture_output=True, text=True),
                range(3),
            )
        )
    return root, runs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program that was never started."""
    return make_tree(tmp_path / "a program")


@pytest.fixture
def ready(tree: Path, made: tuple[Path, list[Run]]) -> Path:
    """A program with its environment (a copy: making one takes seconds)."""
    shutil.copytree(made[0] / ".venv", tree / ".venv", symlinks=True)
    return tree


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


@pytest.fixture
def start(tree: Path, tmp_path: Path) -> Callable[..., Run]:
    """Start the launcher, from another folder."""

    def run(*arguments: str, program: Path | None = None, cwd: Path = tmp_path, **environ: str) -> Run:
        return subprocess.run(
            [program or tree / "bin" / "probe", *arguments],
            cwd=cwd,
            env=os.environ | {"ARIMON_PYTHON": PYTHON} | environ,
            capture_output=True,
            text=True,
            timeout=250,
        )

    return run


def test_first_starts_at_once_make_one_environment(made: tuple[Path, list[Run]]) -> None:
    """One of them makes the environment and says so on standard error, the others wait for it, and all run."""
    root, runs = made
    assert [run.returncode for run in runs] == [0] * 3, runs
    assert sum(f"making {root}/.venv" in run.stderr for run in runs) == 1
    assert len({run.stdout for run in runs}) == 1


def test_the_next_start_says_nothing(ready: Path, start: Callable[..., Run]) -> None:
    """With the environment there, there is nothing but the program, which gets its arguments as they were."""
    run = start("a b", "", "*")
    assert (run.returncode, run.stderr) == (0, "")
    assert '"args": ["a b", "", "*"]' in run.stdout
    assert f'"python": "{ready}/.venv/bin/python"' in run.stdout


def test_the_callers_folder_is_kept_and_not_trusted(ready: Path, tmp_path: Path, start: Callable[..., Run]) -> None:
    """The working directory stays the caller's; modules of the same name in it, or in PYTHONPATH, are not run."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "main.py").write_text("raise SystemExit('the wrong one')")
    run = start(PYTHONPATH=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert f'"cwd": "{tmp_path}"' in run.stdout
    assert f'"file": "{ready}/probe/main.py"' in run.stdout


def test_arimond_finds_a_ctrl_c_held_back(ready: Path, start: Callable[..., Run]) -> None:
    """Python starts with SIGINT blocked, for arimond alone, which unblocks it; where env cannot, it starts as it is."""
    assert '"held": []' in start().stdout
    text = (ROOT / "bin" / "arimond").read_text().replace("run supervision.arimond", "run probe.main")
    program = executable(ready / "bin" / "arimond", text)
    run = start("a b", "", "*", program=program)
    assert (run.returncode, run.stderr) == (0, "")
    assert '"held": ["SIGINT"]' in run.stdout
    assert '"args": ["a b", "", "*"]' in run.stdout
    (ready / "tools").mkdir()
    executable(ready / "tools" / "env", "#!/bin/sh\necho 'unrecognized option' >&2\nexit 125\n")
    run = start(program=program, PATH=f"{ready}/tools:{os.environ['PATH']}")
    assert (run.returncode, run.stderr) == (0, "")
    assert '"held": []' in run.stdout


def test_the_exit_code_is_the_programs(ready: Path, start: Callable[..., Run]) -> None:
    """What the program exits with is what the launcher exits with."""
    assert start("fail").returncode == 7


def test_a_link_to_a_launcher_works(ready: Path, tmp_path: Path, start: Callable[..., Run]) -> None:
    """A symbolic link in /usr/local/bin finds its program's folder."""
    link = tmp_path / "linked"
    link.symlink_to(ready / "bin" / "probe")
    assert start(program=link).returncode == 0


def test_a_changed_lock_file_is_installed(ready: Path, start: Callable[..., Run]) -> None:
    """After an update the packages are brought up to date in the environment that is there."""
    (ready / "requirements.lock").write_text("# changed\n")
    run = start()
    assert "installing the packages of requirements.lock" in run.stderr
    assert "making" not in run.stderr
    assert start().stderr == ""


def test_a_failed_installation_is_tried_again(ready: Path, start: Callable[..., Run]) -> None:
    """A package that cannot be had is an error now, and no excuse for the next start."""
    (ready / "requirements.lock").write_text("nothing @ file:///nowhere/nothing-1.0-py3-none-any.whl\n")
    for _ in range(2):
        run = start()
        assert run.returncode == 1
        assert "could not install the packages of requirements.lock; the next start tries again" in run.stderr
    (ready / "requirements.lock").write_text("# mended\n")
    assert start().returncode == 0


def test_an_environment_of_another_python_is_made_anew(ready: Path, start: Callable[..., Run]) -> None:
    """An environment whose Python was replaced by the system's upgrade, or is half made, is no environment."""
    (ready / ".venv" / "bin" / "python").unlink()
    (ready / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.11")
    run = start()
    assert run.returncode == 0, run.stderr
    assert "making" in run.stderr


def test_a_python_without_venv_is_said_with_the_package(tree: Path, tmp_path: Path, start: Callable[..., Run]) -> None:
    """Debian's python3 without python3-venv: one line with the command."""
    bare = executable(
        tmp_path / "python3",
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec {PYTHON} "$@"\n',
    )
    run = start(ARIMON_PYTHON=str(bare))
    assert run.returncode == 1
    assert run.stderr.strip().endswith("cannot make virtual environments. On Debian: apt-get install python3-venv")
    assert not (tree / ".venv").exists()


@pytest.fixture
def tools(tree: Path) -> Path:
    """All that there is on a machine without Python: what the launchers use, and no system's own Python either."""
    library = tree / "bin" / "environment.sh"
    text = library.read_text()
    assert "/usr/bin/python3 python3 " in text
    folder = tree / "tools"
    library.write_text(text.replace("/usr/bin/python3 python3 ", "../tools/system-python3 python3 "))
    folder.mkdir()
    for name in ("sh", "dirname", "readlink", "sha256sum", "cat", "sed", "flock", "mv", "env"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def made_with(tree: Path, tools: Path, start: Callable[..., Run]) -> Callable[[], str]:
    """Start with nothing but these tools, none of whose Pythons makes an environment in fact; what was said."""
    return lambda: start(cwd=tree / "bin", ARIMON_PYTHON="", PATH=str(tools)).stderr


def python(path: Path, *, old: bool = False, bare: bool = False) -> Path:
    """A Python that makes no environment: too old, without what it takes to make one, or such that it fails."""
    refuses = "*" if old else "*ensurepip*" if bare else "*-m\\ venv*"
    return executable(path, f'#!/bin/sh\ncase "$*" in {refuses}) exit 1 ;; esac\nexec {PYTHON} "$@"\n')


def test_a_python_that_is_too_old_is_passed_over(tools: Path, made_with: Callable[[], str]) -> None:
    """An old `python3` is not used when a newer one is there, and said when there is none."""
    python(tools / "python3", old=True)
    assert "Python 3.11 to 3.14 is needed. On Debian 12 or later: apt-get install python3 python3-venv" in made_with()
    newer = python(tools / "python3.12")
    assert f"with {newer}" in made_with()


def test_the_systems_own_python_goes_first(tools: Path, made_with: Callable[[], str]) -> None:
    """What somebody has put into the PATH may stand where the daemon's user cannot read it."""
    python(tools / "python3")
    python(tools / "system-python3")
    assert "with ../tools/system-python3" in made_with()


def test_a_python_without_venv_is_passed_over(tools: Path, made_with: Callable[[], str]) -> None:
    """Debian's python3 without python3-venv is no reason to stop where another Python can do it."""
    python(tools / "system-python3", bare=True)
    assert "../tools/system-python3 cannot make virtual environments" in made_with()
    other = python(tools / "python3")
    assert f"with {other}" in made_with()


def test_arguments_and_modules_of_the_real_launchers() -> None:
    """Each launcher runs the module that it is named after, with the runtime's lock file."""
    for name, module in (
        ("arimond", "supervision.arimond"),
        ("arimon-ctl", "wire.control.cli"),
        ("arimon-sim", "wire.simulator"),
    ):
        text = (ROOT / "bin" / name).read_text()
        assert text.endswith(f'prepare requirements.lock\nrun {module} "$@"\n')
        assert os.access(ROOT / "bin" / name, os.X_OK)


def test_the_lock_files_agree_and_name_no_registry() -> None:
    """Every package has hashes, the tests' lock holds the runtime's versions, and no address is in either."""
    pins: dict[str, set[str]] = {}
    for name in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index-url" not in text
        entries = text.replace("\\\n", " ").splitlines()
        pinned = [line for line in entries if line and not line.lstrip().startswith("#")]
        assert all("==" in line and "--hash=sha256:" in line for line in pinned)
        pins[name] = {line.split()[0] for line in pinned}
    assert pins["requirements.lock"] <= pins["requirements-test.lock"]


# bin/test


@pytest.fixture
def without_packages(tree: Path) -> Path:
    """bin/test on a machine without the Debian packages, for a user who is not root."""
    text = (ROOT / "bin" / "test").read_text()
    for path in ("/usr/sbin/rabbitmq-server", "/usr/bin/carbon-cache"):
        assert path in text
        text = text.replace(path, "/nowhere")
    tools = tree / "tools"
    tools.mkdir()
    executable(tools / "id", "#!/bin/sh\necho 1000\n")
    return executable(tree / "bin" / "test", text)


def test_without_root_the_missing_packages_are_named(
    tree: Path, without_packages: Path, start: Callable[..., Run]
) -> None:
    """Exactly the line to type, exit code 3, and nothing done."""
    run = start(program=without_packages, PATH=f"{tree}/tools:{os.environ['PATH']}")
    assert run.returncode == 3
    assert run.stderr == (
        "test: Debian packages are missing. As root: "
        "apt-get install --no-install-recommends rabbitmq-server graphite-carbon\n"
    )
    assert not (tree / ".venv").exists()


def test_as_root_the_missing_packages_are_installed(
    tree: Path, without_packages: Path, start: Callable[..., Run]
) -> None:
    """apt-get is called without questions and recommendations; if it fails, so does the test, with exit code 3."""
    executable(tree / "tools" / "id", "#!/bin/sh\necho 0\n")
    executable(
        tree / "tools" / "apt-get",
        f'#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >>"{tree}/calls"\n[ "$1" = update ]\n',
    )
    text = without_packages.read_text().replace("/usr/sbin/policy-rc.d", f"'{tree}/policy'")
    without_packages.write_text(text)
    run = start(program=without_packages, PATH=f"{tree}/tools:{os.environ['PATH']}")
    assert run.returncode == 3
    assert "could not install the Debian packages rabbitmq-server graphite-carbon" in run.stderr
    assert (tree / "calls").read_text().splitlines() == [
        "noninteractive update -q",
        "noninteractive install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "
        "rabbitmq-server graphite-carbon",
    ]
    assert not (tree / "policy").exists()
