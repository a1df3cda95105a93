"""The page of serve in headless Chromium, by its keyboard: types, streams, stops, reloads; narrow and wide, light and dark. Skipped without Chromium."""
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
import unittest

from serve_support import Serving

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """Chromium over its debugging pipe: JSON documents that end with a zero byte."""

    def __init__(self, profile):
        to_browser, self.output = os.pipe()
        self.input, from_browser = os.pipe()
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run",
                   f"--user-data-dir={profile}", "about:blank"]

        def wire():
            for there, number in ((os.dup(to_browser), 3), (os.dup(from_browser), 4)):
                os.dup2(there, number)
        self.process = subprocess.Popen(command, preexec_fn=wire, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser), os.close(from_browser)
        self.waiting, self.last, self.session, self.errors = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def message(self, seconds=60):
        while b"\0" not in self.waiting:
            if not select.select([self.input], [], [], seconds)[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self.input, 1 << 20)
            if not part:
                raise EOFError("the browser has ended")
            self.waiting += part
        text, self.waiting = self.waiting.split(b"\0", 1)
        found = json.loads(text)
        if found.get("method") == "Runtime.exceptionThrown":
            self.errors.append(found["params"]["exceptionDetails"].get("exception", {}).get("description") or found["params"]["exceptionDetails"]["text"])
        if found.get("method") == "Log.entryAdded" and found["params"]["entry"]["level"] == "error":
            self.errors.append(found["params"]["entry"]["text"])
        return found

    def call(self, method, **parameters):
        self.last += 1
        asked = {"id": self.last, "method": method, "params": parameters} | ({"sessionId": self.session} if self.session else {})
        os.write(self.output, json.dumps(asked).encode() + b"\0")
        while True:
            found = self.message()
            if found.get("id") == self.last:
                if "error" in found:
                    raise AssertionError(f"{method}: {found['error']}")
                return found["result"]

    def run(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait_for(self, expression, seconds=30):
        deadline = time.monotonic() + seconds
        while not self.run(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {expression}; errors: {self.errors}")
            time.sleep(0.05)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && document.title !== 'swage'")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, name, code, text=""):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **more)

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.output), os.close(self.input)


@unittest.skipUnless(BROWSER, "no Chromium")
class Page(Serving):
    def browser(self, profile="profile"):
        browser = Browser(self.folder / profile)
        self.addCleanup(browser.close)
        return browser

    def endless(self, browser):
        """The tiny model's answers are not ended by chance."""
        browser.run("""{ const ask = window.fetch;
            window.fetch = (url, how) => ask(url, how && how.body ? {...how, body: JSON.stringify({...JSON.parse(how.body), ignore_eos: true})} : how); }""")

    def say(self, browser, text):
        browser.type(text)
        browser.key("Enter", 13, "\r")

    def test_by_the_keyboard_alone(self):
        server, browser = self.server(), self.browser()
        browser.open("http://" + server.address)
        self.assertEqual(browser.run("document.activeElement.id"), "input")
        self.endless(browser)
        browser.run("document.getElementById('max_tokens').value = 30")
        self.say(browser, "hello")
        browser.wait_for("document.querySelectorAll('article').length === 2 && !document.getElementById('send').hidden")
        self.assertRegex(browser.run("document.querySelector('article.assistant .note').textContent"), r"^30 tokens, [\d.]+ tokens/s, first after [\d.]+ s, cut off")
        self.assertEqual(browser.run("document.querySelectorAll('article.assistant .text span').length"), 30)
        # An answer's probabilities, by arrow keys.
        browser.run("document.querySelector('article.assistant .text').focus()")
        browser.key("ArrowRight", 39)
        self.assertFalse(browser.run("document.getElementById('tip').hidden"))
        self.assertGreaterEqual(browser.run("document.querySelectorAll('#tip tr').length"), 5)
        browser.key("Escape", 27)
        self.assertTrue(browser.run("document.getElementById('tip').hidden"))
        # Stopped in the middle: the engine has nothing to do any more.
        browser.run("document.getElementById('max_tokens').value = 8000; document.getElementById('input').focus()")
        self.say(browser, "go on and on")
        browser.wait_for("document.querySelectorAll('article').length === 4 && document.querySelectorAll('article:last-child .text span').length > 5")
        self.assertFalse(browser.run("document.getElementById('stop').hidden"))
        browser.key("Escape", 27)
        browser.wait_for("!document.getElementById('send').hidden")
        deadline = time.monotonic() + 5
        while server.metric("swage_requests_running") > 0:
            self.assertLess(time.monotonic(), deadline)
        self.assertIn("stopped", browser.run("document.querySelector('article:last-child .note').textContent"))
        # What was said is there after a reload, and gone with a new chat.
        browser.open("http://" + server.address)
        browser.wait_for("document.querySelectorAll('article').length === 4")
        browser.run("document.getElementById('fresh').click()")
        self.assertEqual(browser.run("document.querySelectorAll('article').length"), 0)
        self.assertEqual(browser.errors, [])

    def test_it_fits_narrow_and_wide_light_and_dark(self):
        server, browser = self.server(), self.browser()
        pictures = os.environ.get("SWAGE_PICTURES")
        for width in (390, 768, 1600):
            for scheme in ("light", "dark"):
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
                browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                browser.open("http://" + server.address)
                browser.run("document.getElementById('max_tokens').value = 40")
                self.say(browser, "a question that is long enough to be broken into several lines on a narrow screen, " * 2)
                browser.wait_for("!document.getElementById('send').hidden && document.querySelector('article.assistant .note')?.textContent")
                browser.run("document.getElementById('more').click()")
                wide = browser.run("[...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '#' + e.id).join()")
                self.assertLessEqual(browser.run("document.documentElement.scrollWidth"), width, wide)
                for id in ("send", "fresh", "more", "temperature", "system"):
                    left, right = browser.run(f"(r => [r.left, r.right])(document.getElementById('{id}').getBoundingClientRect())")
                    self.assertTrue(0 <= left < right <= width, (id, width, left, right))
                dark = browser.run("getComputedStyle(document.body).backgroundColor")
                self.assertEqual(sum(int(v) for v in dark[4:-1].split(",")) < 384, scheme == "dark", dark)
                if pictures:
                    os.makedirs(pictures, exist_ok=True)
                    browser.run("document.querySelector('article.assistant .text').focus()")
                    browser.key("ArrowRight", 39)
                    browser.picture(pathlib.Path(pictures) / f"page-{width}-{scheme}.png")
                browser.run("document.getElementById('fresh').click()")
        self.assertEqual(browser.errors, [])

    def test_keys_and_failures_are_shown(self):
        server, browser = self.server(SWAGE_API_KEY="secret"), self.browser()
        browser.call("Page.navigate", url="http://" + server.address)
        browser.wait_for("document.getElementById('model')?.textContent.includes('key')")
        browser.run("document.getElementById('key').value = 'secret'; document.getElementById('key').dispatchEvent(new Event('change'))")
        browser.wait_for("document.title === 'tiny'")
        browser.run("document.getElementById('input').focus()")
        server.end()
        self.say(browser, "hello")
        browser.wait_for("document.querySelector('.error')?.textContent.startsWith('Failed')")


if __name__ == "__main__":
    unittest.main()
