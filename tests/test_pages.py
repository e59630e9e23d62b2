"""The pages: examples print what they say, links lead somewhere, and nothing that a reader looks for is left out."""

import doctest
import re
import tomllib
from pathlib import Path

import pytest

import infgeo
from infgeo import errors

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *SITE]
WITH_EXAMPLES = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def relative(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=relative)
def test_examples_print_what_the_page_says(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert all(block.startswith(">>> ") for block in blocks)
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted >= len(blocks)
    assert result.failed == 0


def test_the_pages_that_teach_have_examples():
    names = {relative(page) for page in WITH_EXAMPLES}
    without = {"docs/guide/index.md", "docs/guide/command_line.md"}
    guide = {relative(page) for page in SITE if page.parent.name == "guide"} - without
    assert {"README.md", "docs/start/quickstart.md", *guide} <= names


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), link
            assert not re.search(r"theory/\d", link), "a chapter is linked in derivations/; only the site has a copy"


def test_the_readme_is_one_page_and_names_what_exists():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([a-z]+)", text, flags=re.MULTILINE) + re.findall(r"`make ([a-z]+)`", text)
    assert {"demo", "test", "docs"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)


def test_every_chapter_is_in_the_contents_and_opens_and_closes_as_the_others():
    contents = (ROOT / "docs" / "theory" / "index.md").read_text(encoding="utf-8")
    scripts = sorted((ROOT / "derivations").glob("[0-9][0-9]_*.py"))
    assert re.findall(r"^\d\d_\w+$", contents, flags=re.MULTILINE) == [path.stem for path in scripts]
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        opening, closing = text.partition("# %%\n")[0], text.rpartition("# %% [markdown]\n")[2]
        assert opening.startswith(f"# %% [markdown]\n# # {int(path.name[:2])}. "), path.name
        assert re.search(r"\$[^$]+=[^$]+\$", opening), f"{path.name} opens without its statement"
        assert closing.startswith("# ## In the package\n"), path.name


def test_every_public_name_and_every_error_is_in_the_reference():
    reference = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference/api").glob("*.md"))
    names = set(infgeo.__all__) - {"__version__", "errors"} - set(infgeo.tracking.__all__)
    assert names == set(re.findall(r":: infgeo\.(\w+)\n", reference))
    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)} - {"InfgeoError"}
    assert classes == set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))


def test_what_builds_the_site_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for requirement in project["optional-dependencies"]["docs"]:
        name = re.split(r"[\[>]", requirement)[0]
        assert name == "infgeo" or f"\n{name}==" in pins, name
