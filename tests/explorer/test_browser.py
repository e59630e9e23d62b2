"""The page in a real browser: sliders move curves, values are the package's, and it is readable on a phone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import infgeo
from infgeo.explorer.page import page as html

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'infgeo[browser]'")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the path")
QUIET = ["background-networking", "component-update", "dev-shm-usage", "gpu", "quic", "sync"]


@pytest.fixture(scope="module")
def browser():
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(html(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Return a function that opens the page; whatever it loads or complains of fails the test."""
    contexts, complaints = [], []

    def open_page(choice="", **settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto(f"{address}#{choice}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def values_of(page):
    """Return the numbers of the table by their names."""
    rows = "rows => rows.map(row => [row.cells[0].textContent, Number(row.cells[1].dataset.value)])"
    return dict(page.eval_on_selector_all("#values tr", rows))


def settled(page):
    """Wait until what was changed is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("activation", ["erf", "tanh"])
def test_values_are_those_of_the_package(opened, activation):
    page = opened(f"activation={activation}&depth=2&sigma_w=1.3&sigma_b=0.4&d=3&r=0.8")
    geo = infgeo.MLP(activation, depth=2).numeric(weight_std=1.3, bias_std=0.4)
    x, y = np.array([0.8, 0, 0]), np.array([0, 0.8, 0])
    g = geo.metric(x)
    values = values_of(page)
    assert values["A"] == pytest.approx(g[1, 1], rel=1e-6)
    assert values["A + |x|² B"] == pytest.approx(g[0, 0], rel=1e-6)
    assert values["B"] == pytest.approx((g[0, 0] - g[1, 1]) / 0.64, rel=1e-6)
    assert values["log √det g"] == pytest.approx(float(geo.log_volume_element(x)), rel=1e-6)
    assert values["R"] == pytest.approx(float(geo.ricci_scalar(x)), rel=1e-6)
    kernels = [values[f"kernel at {angle}°"] for angle in (0, 90, 180)]
    assert kernels == pytest.approx(geo.kernel(x[None], np.stack([x, y, -x]))[0], rel=1e-6)


def test_the_keyboard_moves_curves_and_the_address_keeps_the_choice(opened):
    page = opened()
    curves = {
        name: page.locator(f"#{name} .curve").first
        for name in ("metric", "shear", "volume", "curvature", "distance", "kernel")
    }
    before = {name: curve.get_attribute("d") for name, curve in curves.items()}
    page.keyboard.press("Tab")
    page.keyboard.type("gau")
    settled(page)
    assert page.locator("#activation").input_value() == "gaussian"
    assert values_of(page)["R"] != 0
    reached = []
    for _ in range(18):
        reached.append(page.evaluate("() => document.activeElement.id"))
        outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        if reached[-1] == "sigma_w-range":
            page.keyboard.press("ArrowRight")
            settled(page)
            assert page.locator("#sigma_w-number").input_value() == "1.05" and "sigma_w=1.05" in page.url
        if reached[-1] == "surface":
            drawn = page.evaluate("() => document.activeElement.toDataURL()")
            page.keyboard.press("ArrowUp")
            assert page.evaluate("() => document.activeElement.toDataURL()") != drawn
        page.keyboard.press("Tab")
    assert [*reached] == [
        "activation",
        *(
            f"{name}-{kind}"
            for name in ("depth", "sigma_w", "sigma_b", "d", "r", "extent")
            for kind in ("number", "range")
        ),
        *("surface", "formula", "python", "copy-python", "copy-latex"),
    ]
    after = {name: curve.get_attribute("d") for name, curve in curves.items()}
    assert all(after[name] != before[name] for name in curves)
    again = opened(page.url.partition("#")[2])
    assert values_of(again) == values_of(page)


def test_every_activation_fits_a_phone_in_dark_mode_too(opened):
    page = opened(viewport={"width": 360, "height": 740}, color_scheme="dark")
    names = page.locator("#activation option").all()
    widths = page.evaluate(
        """() => Object.keys(FORMULAS).flatMap((activation) => [[1, 0], [3, 0.5]].map(([depth, sigma_b]) => {
            Object.assign(state, { activation, depth, sigma_b });
            show();
            const number = [...document.querySelectorAll("#values td")].every((cell) => cell.textContent !== "–");
            return [activation, document.documentElement.scrollWidth, number];
        }))"""
    )
    assert len(widths) == 2 * len(names)
    assert [name for name, width, _ in widths if width > 360] == []
    assert {name for name, _, finite in widths if not finite} == {"exp"}  # at depth 3 it is beyond floats
    dark = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    page.emulate_media(color_scheme="light")
    light = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    darkness = [sum(map(int, colour[4:-1].split(", "))) for colour in (*dark, *light)]
    assert darkness[0] < 120 < 600 < darkness[1] and darkness[3] < 150 < 700 < darkness[2]


def test_the_page_says_what_is_flat_or_does_not_exist(opened):
    assert "flat" in opened("activation=relu&depth=3").locator("#notes").inner_text()
    page = opened("activation=step")
    assert "There is no metric: activation step has a jump" in page.locator("#notes").inner_text()
    assert not page.locator("#metric").is_visible() and page.locator("#kernel").is_visible()
    assert opened("activation=erf").locator("#space").inner_text().startswith("in R2,1")
    page = opened("activation=nonsense&depth=99&sigma_w=x")  # what is not there is not taken
    assert page.locator("#activation").input_value() == "erf" and page.locator("#depth-number").input_value() == "6"


def test_formulas_are_copied(opened):
    page = opened("activation=erf", permissions=["clipboard-read", "clipboard-write"])
    copied = []
    for name in ("copy-python", "copy-latex"):
        page.locator(f"#{name}").click()
        page.locator("#copied", has_text="Copied").wait_for()
        copied.append(page.evaluate("() => navigator.clipboard.readText()"))
    assert copied[0] == 'import infgeo; g = infgeo.MLP("erf", depth=1, weight_std=1, bias_std=0.5).metric.at(d=2)'
    assert r"\begin{aligned}" in copied[1] and r"R &= - \frac{\pi s \sigma_{w}^{2}" in copied[1]
