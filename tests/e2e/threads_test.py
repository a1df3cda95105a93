"""The same bytes and the same report for any number of threads, at the widths of SmolLM2-135M."""
import unittest

from support import EndToEnd, contents, make_llama, make_text

STAGE = "default_stage:\n  default_modifiers:\n"


def gptq(scheme):
    return f"GPTQModifier: {{targets: [Linear], ignore: [lm_head], scheme: {scheme}}}"


class Threads(EndToEnd):
    rows, length = 6, 64
    shape = {"hidden": 576, "inner": 1536, "layers": 2}

    def setUp(self):
        super().setUp()
        self.text = make_text(self.folder / "calibration.jsonl", seed=1, documents=40)
        self.source = make_llama(self.folder / "model", **self.shape)

    def recipe(self, *lines):
        path = self.folder / "recipe.yaml"
        path.write_text(STAGE + "".join(f"    {line}\n" for line in lines))
        return ("--recipe", path)

    def assert_same(self, *arguments, threads=(1, 2), rows=None, data=True, check=False):
        """With each of these numbers of threads; what is compared with holds weights and report, but for times."""
        if data:
            arguments += ("-d", self.text, "--num-calibration-samples", rows or self.rows, "--max-seq-length", self.length)
        if not check:
            arguments += ("--no-check",)
        found = []
        for number in threads:
            out = self.folder / f"out{number}"
            self.assert_succeeds(self.compress(self.source, *arguments, "--overwrite", out=out, threads=number))
            found.append(contents(out))
        for number, other in zip(threads[1:], found[1:]):
            for name in found[0]:
                self.assertTrue(other[name] == found[0][name], f"{name} differs between {threads[0]} and {number} threads")
            self.assertEqual(sorted(other), sorted(found[0]))


class RealWidths(Threads):
    def test_best(self):
        self.assert_same("--group-size", 64, "--quality", "best", threads=(1, 2, 3))

    def test_the_default_with_its_check(self):
        self.assert_same("--group-size", 64, check=True)

    def test_fast_in_the_order_of_groups(self):
        self.assert_same("--group-size", 64, "--quality", "fast", "--scheme", "W4A16_ASYM", "--actorder", "group")

    def test_nvfp4(self):
        self.assert_same("--scheme", "NVFP4", "--target", "inputs")

    def test_awq(self):
        self.assert_same(*self.recipe("AWQModifier: {}", gptq("W4A16_ASYM, group_size: 64")))

    def test_sparsegpt(self):
        self.assert_same("--method", "sparsegpt", "--sparsity", 0.5, "--mask-structure", "2:4")


if __name__ == "__main__":
    unittest.main()
