"""What an output has for people: the model card and the report as a page, whose layout a headless Chromium measures."""
import html
import json
import re
import shutil
import subprocess
import unittest

from support import EndToEnd, edit_json, read_json, run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Loads the page into a frame of a given width and takes down what is wrong with its layout: what sticks out to the right, and text whose contrast with its
# ground is below 4.5 to 1 (WCAG 2.1, 1.4.3).
PROBE = """<!doctype html><body><iframe id=f style="border:0;width:WIDTHpx;height:800px"></iframe><pre id=facts></pre><script>
const frame = document.getElementById('f');
const numbers = color => color.match(/[\\d.]+/g).map(Number);
const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
frame.onload = () => {
  const d = frame.contentDocument, w = frame.contentWindow, root = d.documentElement;
  const ground = e => { for (; e; e = e.parentElement) { const c = numbers(w.getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const low = [], out = [];
  for (const e of d.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || ['SCRIPT', 'STYLE', 'title'].includes(e.tagName)) continue;
    const style = w.getComputedStyle(e), text = numbers(e.tagName === 'text' ? style.fill : style.color).slice(0, 3);
    const [a, b] = [light(text), light(ground(e))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.push(e.tagName + ' ' + ratio.toFixed(2) + ' ' + e.textContent.slice(0, 30));
    if (!e.closest('.scroll, pre') && e.getBoundingClientRect().right > root.clientWidth + 1) out.push(e.tagName + ' ' + e.textContent.slice(0, 30));
  }
  const first = d.querySelector('table.sort tbody'), names = () => [...first.rows].map(r => Number(r.cells[2].dataset.v));
  d.querySelectorAll('table.sort th button')[2].click();
  const sorted = names();
  document.getElementById('facts').textContent = JSON.stringify({
    client: root.clientWidth, scroll: root.scrollWidth, low, out, sorted, dark: w.matchMedia('(prefers-color-scheme:dark)').matches,
    background: w.getComputedStyle(d.body).backgroundColor,
    unnamed: [...d.querySelectorAll('[role=img], [role=region]')].filter(e => !e.getAttribute('aria-label')).length,
    heads: [...d.querySelectorAll('th')].filter(e => !e.getAttribute('scope')).length, maps: d.querySelectorAll('svg[role=img]').length, legends: d.querySelectorAll('.legend').length});
};
frame.srcdoc = atob('PAGE');
</script>"""


class Card(EndToEnd):
    def card(self, *arguments, model=None):
        self.assert_succeeds(self.compress(model or self.model(), *arguments, "--overwrite"))
        return (self.out / "README.md").read_text()

    def test_says_what_it_is_made_of(self):
        card = self.card(*self.calibrated())
        head = card.split("---\n")[1]
        for line in ('base_model: "llama32_tied"', "base_model_relation: quantized", "library_name: transformers", "- compressed-tensors"):
            self.assertIn(line + "\n", head)
        report = read_json(self.out / "swage_report.json")
        check = report["check"]
        for part in ("GPTQModifier", "W4A16 g16", f"calibration.jsonl: {report['calibration']['rows']} rows of 32 tokens", "vllm serve .", report["command_line"],
                     f"{check['source_perplexity']:.3f} before, {check['output_perplexity']:.3f} after", f"on {check['tokens']} held-out tokens", report["answers"]["output"].strip()):
            self.assertIn(part, card)
        self.assertRegex(report["date"], r"^\d{4}-\d\d-\d\d \d\d:\d\d UTC$")
        self.assertEqual(sum(part["bytes"] for part in report["size_parts"]), report["plan"]["output_bytes"])

    def test_the_command_makes_the_same_again(self):
        self.card(*self.calibrated("--seed", 7, "--shuffle", "--no-pack"))
        words = read_json(self.out / "swage_report.json")["command_line"].split()
        again = self.folder / "again"
        words[words.index("recipe.yaml")] = str(self.out / "recipe.yaml")
        words[words.index("OUT")] = str(again)
        self.assertIn("calibration.jsonl", words)
        words[words.index("calibration.jsonl")] = str(self.text)  # a recipe tells where its text was
        self.assert_succeeds(run(*words[1:], "--overwrite", cwd=self.folder))
        for name in ("model.safetensors", "config.json", "recipe.yaml", "README.md"):
            self.assertEqual((self.out / name).read_bytes(), (again / name).read_bytes(), name)

    def test_the_source_card_is_not_taken_for_its_own(self):
        model = self.model()
        (model / "README.md").write_text("---\nlanguage: en\nlicense: other\nlicense_name: some-licence\nlicense_link: LICENSE\ntags:\n- chat\n---\n# Original model card\n")
        card = self.card("--method", "rtn", "--group-size", 16, model=model)
        self.assertNotIn("Original model card", card)
        self.assertNotIn("language: en", card)
        self.assertIn("license: other\nlicense_name: some-licence\nlicense_link: LICENSE\n", card.split("---\n")[1])
        self.assertTrue((self.out / "LICENSE").exists())
        (model / "README.md").write_text("---\nlicense: mit\nno end of this head\n")
        self.assertNotIn("license: mit", self.card("--method", "rtn", "--group-size", 16, model=model))

    def test_a_snapshot_of_a_hub_is_named_by_its_id(self):
        snapshot = self.folder / "hub" / "models--some-org--some-model" / "snapshots" / "0123abc"
        shutil.copytree(self.model(), snapshot)
        card = self.card("--method", "rtn", "--group-size", 16, model=snapshot)
        self.assertIn('base_model: "some-org/some-model"\n', card)
        self.assertIn("/some-org/some-model)", card)

    def test_model_free_says_what_was_not_measured(self):
        self.assertIn("not measured", self.card("--method", "rtn", "--group-size", 16, "--model-free"))


class Page(EndToEnd):
    def page(self, *more):
        self.assert_succeeds(self.compress(self.model(), *self.calibrated(*more)))
        return (self.out / "swage_report.html").read_text()

    def test_has_what_a_reader_asks_for(self):
        page = self.page()
        report = read_json(self.out / "swage_report.json")
        ratio = report["check"]["output_perplexity"] / report["check"]["source_perplexity"] - 1
        text = html.unescape(page)
        for part in ('<meta name="viewport"', "prefers-color-scheme:dark", f"change {100 * ratio:+.1f} %", "held-out tokens", report["date"], report["command_line"], "Size by part", "Largest errors",
                     "One prompt, before and after", report["answers"]["prompt"], "rows of 32 tokens", "of calibration.jsonl", "vllm serve ."):
            self.assertIn(part, text)
        self.assertNotRegex(page, r"\d\.0 modules")
        kinds = re.findall(r'<text x="0" y="\d+">([^<]+)</text>', page)
        self.assertEqual(kinds, [f"self_attn.{n}_proj" for n in "qkvo"] + [f"mlp.{n}_proj" for n in ("gate", "up", "down")])

    @unittest.skipUnless(CHROMIUM, "no Chromium on this machine (Debian package chromium): the page's layout is not measured")
    def test_layout_at_both_widths_light_and_dark(self):
        page = self.page()
        for width in (390, 1280):
            for dark in (False, True):
                facts = self.measure(page, width, dark)
                where = (width, dark)
                self.assertLessEqual(width - facts["client"], 20, where)  # its scroll bar
                self.assertEqual(facts["scroll"], facts["client"], where)
                self.assertEqual((facts["low"], facts["out"]), ([], []), where)
                self.assertEqual(facts["dark"], dark, where)
                self.assertEqual(facts["background"] == "rgb(255, 255, 255)", not dark, where)
                self.assertEqual((facts["unnamed"], facts["heads"]), (0, 0), where)
                self.assertGreaterEqual(facts["legends"], 1)
                self.assertEqual(facts["sorted"], sorted(facts["sorted"], reverse=True))
                self.assertEqual(len(facts["sorted"]), 21)

    def measure(self, page, width, dark):
        import base64
        probe = self.folder / "probe.html"
        probe.write_text(PROBE.replace("WIDTH", str(width)).replace("PAGE", base64.b64encode(page.encode()).decode()))
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={self.folder / 'profile'}",
                   f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1400,1000", "--virtual-time-budget=4000", "--dump-dom", probe.as_uri()]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        found = re.search(r'<pre id="facts">(.*?)</pre>', result.stdout, re.S)
        self.assertTrue(found and found.group(1), result.stderr[-2000:])
        return json.loads(html.unescape(found.group(1)))


if __name__ == "__main__":
    unittest.main()
