"""The report in a real browser: by keyboard, on a narrow screen, with hostile texts, when large."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is missing; install the extra `docs`")

from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from docs import browser
from fasttts_sglang.report.page import page
from fasttts_sglang.search.result import SearchResult
from tests.made_up import search_result

if reason := browser.missing():
    pytest.skip(reason, allow_module_level=True)

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>" + "wide" * 200


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser.browser() as driver:
        yield driver


@pytest.fixture
def show(driver: Chrome, tmp_path: Path) -> Any:
    """Opens the page on a result; at the end nothing may have been complained about."""

    def opened(result: SearchResult, width: int = 1280) -> Chrome:
        file = tmp_path / "page.html"
        file.write_text(page(result), "utf-8")
        browser.show(driver, file, width=width)
        return driver

    yield opened
    assert driver.get_log("browser") == []


def press(driver: Chrome, *keys: str) -> None:
    actions = ActionChains(driver)
    for key in keys:
        actions.send_keys(key)
    actions.perform()


def current(driver: Chrome) -> Any:
    """The path of the focused item, from the panel that shows what is selected."""
    assert driver.execute_script("return document.activeElement.getAttribute('aria-selected')")
    return driver.execute_script("return document.querySelector('.inspector dd').textContent")


def test_the_tree_by_keyboard(show: Any) -> None:
    driver = show(search_result())
    for _ in range(20):  # a reader without a mouse gets there, past boxes and buttons
        press(driver, Keys.TAB)
        if driver.switch_to.active_element.get_attribute("role") == "treeitem":
            break
    result = search_result()
    assert result.best is not None
    assert current(driver) == ".".join(map(str, result.best.path))
    outline = "return getComputedStyle(document.activeElement.firstElementChild).outlineStyle"
    assert driver.execute_script(outline) == "solid"
    press(driver, Keys.HOME)
    assert current(driver) == "0"
    item = driver.switch_to.active_element
    if item.get_attribute("aria-expanded") == "true":
        press(driver, Keys.ARROW_LEFT)
    press(driver, Keys.ARROW_DOWN)
    assert current(driver) == "1"
    press(driver, Keys.ARROW_UP)
    assert current(driver) == "0"
    press(driver, Keys.END, Keys.HOME, "*")
    inner = driver.find_elements(By.CSS_SELECTOR, "[aria-level='1'][aria-expanded]")
    assert inner
    assert {i.get_attribute("aria-expanded") for i in inner} == {"true"}
    inner[0].click()
    press(driver, Keys.ARROW_RIGHT)
    child = current(driver)
    assert child.count(".") == 1
    press(driver, Keys.ARROW_LEFT)
    if current(driver) == child:  # it was open, and is closed now
        press(driver, Keys.ARROW_LEFT)
    assert current(driver) == child.split(".")[0]
    press(driver, Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("aria-expanded") == "false"
    tab_stops = driver.find_elements(By.CSS_SELECTOR, "[role=treeitem][tabindex='0']")
    assert len(tab_stops) == 1


def test_a_filter_never_hides_the_tab_stop(show: Any) -> None:
    driver = show(search_result())
    items = driver.find_elements(By.CSS_SELECTOR, "li.pruned")
    driver.find_element(By.XPATH, "//button[text()='Collapse all']").click()
    next(item for item in items if item.is_displayed()).click()
    driver.find_element(By.XPATH, "//label[contains(., 'pruned')]/input").click()
    assert not any(item.is_displayed() for item in items)
    stop = driver.find_element(By.CSS_SELECTOR, "[role=treeitem][tabindex='0']")
    assert stop.is_displayed()


def test_a_bar_leads_to_its_step(show: Any) -> None:
    driver = show(search_result())
    chart = driver.find_element(By.CSS_SELECTOR, ".chart")
    driver.execute_script("arguments[0].scrollIntoView()", chart)
    corner = (40 - chart.size["width"] // 2, 25 - chart.size["height"] // 2)
    ActionChains(driver).move_to_element_with_offset(chart, *corner).click().perform()
    assert current(driver) == "0"  # the first slot begins with the first node
    picked = driver.find_element(By.CSS_SELECTOR, "path.picked").get_attribute("d")
    assert picked


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("text", ["step", HOSTILE], ids=["plain", "hostile"])
def test_nothing_is_wider_than_the_screen(show: Any, width: int, text: str) -> None:
    driver = show(search_result(text=text, problem=text), width)
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    assert driver.find_elements(By.TAG_NAME, "img") == []
    assert len(driver.find_elements(By.TAG_NAME, "script")) == 2


def test_a_large_search_gets_its_elements_when_they_are_looked_at(show: Any) -> None:
    result = search_result(n=1024)
    driver = show(result)
    assert len(result.nodes) > 3000
    items = driver.find_elements(By.CSS_SELECTOR, "[role=treeitem]")
    assert 1024 <= len(items) < 1100
    assert len(driver.find_elements(By.CSS_SELECTOR, ".chart path.part")) == 3
