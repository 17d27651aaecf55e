"""A wheel that carries the wasm backend's interpreter."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

CARRIED = Path(sysconfig.get_path("data"), "share", "codejury", "python-wasm.tar.zst")


@pytest.fixture()
def codejury(tmp_path):
    if not CARRIED.exists():
        pytest.skip("this wheel was built without the wasm backend's interpreter; CODEJURY_WASM_DIR names an installed one")
    command = Path(sysconfig.get_path("scripts"), "codejury")

    def run(*arguments, **options):
        return subprocess.run([command, *arguments], env={**os.environ, "CODEJURY_WASM_DIR": str(tmp_path / "wasm")},
                              capture_output=True, text=True, **options)

    return run


def test_the_interpreter_that_the_wheel_carries_is_installed_when_asked(codejury, tmp_path):
    missing = codejury("wasm", "status")
    assert missing.returncode == 3
    assert "`codejury wasm setup` installs the one that came with codejury" in missing.stderr

    done = codejury("wasm", "setup")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr

    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(sys.platform, input())\n")
    ran = codejury("run", "--backend", "wasm", str(program), input="hello")
    assert (ran.returncode, ran.stdout) == (0, "wasi hello\n"), ran.stderr
    assert list((tmp_path / "wasm").glob("*.txt")), "its licences are installed with it"
