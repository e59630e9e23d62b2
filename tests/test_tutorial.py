"""The tutorial's blocks run, in order, and print what it says."""

import doctest
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
TUTORIAL = DOCS / "tutorial.md"


def test_blocks_print_what_the_tutorial_says():
    result = doctest.testfile(str(TUTORIAL), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 40
    assert result.failed == 0


def test_every_block_is_run_and_every_link_leads_somewhere():
    text = TUTORIAL.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 6 and all(block.startswith(">>> ") for block in blocks)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (DOCS / link).exists(), link
