"""The package as a user meets it: names, README, examples, benchmark."""

import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import skdeepad

ROOT = Path(__file__).parents[1]


def test_public_names_are_there():
    for name in skdeepad.__all__:
        assert getattr(skdeepad, name) is not None
        assert name in dir(skdeepad)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        skdeepad.Nothing  # noqa: B018
    assert len(set(skdeepad.__all__)) == len(skdeepad.__all__)


def test_type_checkers_see_the_public_names():
    """They know no name but those imported as themselves."""
    source = Path(skdeepad.__file__).read_text()
    assert set(re.findall(r"(\w+) as \1\b", source)) == set(skdeepad.__all__)


def test_import_and_construction_do_not_import_torch():
    code = """
        import sys
        from skdeepad import DASVDD
        repr(DASVDD())
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize("path", ["README.md", "docs/label_free.md"])
def test_code_in_the_docs_runs(path, capsys):
    text = (ROOT / path).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    names = {"__name__": "__main__"}  # a reader runs the blocks one after the other
    for block in blocks:
        exec(compile(block, path, "exec"), names)


def test_readme_names_every_detector():
    text = (ROOT / "README.md").read_text()
    for name in skdeepad.__all__:
        if isinstance(getattr(skdeepad, name), type):
            assert f"`{name}`" in text, name
            assert f"``{name}``" in skdeepad.__doc__, name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem
)
def test_examples_run(path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    runpy.run_path(str(path))
    assert "AUROC" in capsys.readouterr().out
