"""The same bytes for any number of threads: more ways of running at real widths; with SWAGE_LONG_TESTS also inputs of 5632 columns. Slow."""
import os
import unittest

from threads_test import Threads, gptq


class RealWidths(Threads):
    def test_targets_of_one_row(self):
        for target in ("inputs", "residual"):
            with self.subTest(target=target):
                self.assert_same("--group-size", 64, "--target", target, rows=2)
        self.assert_same("--group-size", 64, rows=1)

    def test_best_turned(self):
        self.assert_same("--group-size", 64, "--quality", "best", "--rotate", "R1,R2")
        self.assert_same(*self.recipe("SpinQuantModifier: {rotations: [R1, R2, R4], transform_type: random-matrix}", gptq("W4A16, group_size: 64")))

    def test_best_at_three_bits(self):
        self.assert_same("--group-size", 64, "--quality", "best", "--scheme", "W3A16")

    def test_quality_fast_of_floats(self):
        for scheme in ("NVFP4A16", "MXFP4", "FP8"):
            with self.subTest(scheme=scheme):
                self.assert_same("--scheme", scheme, "--quality", "fast")

    def test_smoothquant(self):
        self.assert_same(*self.recipe("SmoothQuantModifier: {smoothing_strength: 0.7}", gptq("W8A8")))

    def test_awq_by_the_parent(self):
        self.assert_same(*self.recipe("AWQModifier: {objective: parent, n_grid: 6}", "QuantizationModifier: {targets: [Linear], ignore: [lm_head], scheme: W4A16_ASYM, group_size: 64}"))

    def test_budgets(self):
        self.assert_same("--target-bits", 4.5, "--group-size", 64)

    def test_pruning(self):
        for method, more in (("sparsegpt", ()), ("wanda", ("--mask-structure", "2:4")), ("wanda", ("--sparsity-profile", "owl", "--owl-m", 5, "--owl-lmbda", 0.08))):
            with self.subTest(method=method, more=more):
                self.assert_same("--method", method, "--sparsity", 0.5, *more)
        self.assert_same("--method", "magnitude", "--sparsity", 0.5, data=False)
        self.assert_same(*self.recipe('SparseGPTModifier: {sparsity: 0.5, mask_structure: "2:4", ignore: [lm_head]}', gptq("W4A16, group_size: 64")))

    def test_observers(self):
        for observer in ("mse", "imatrix_mse"):
            with self.subTest(observer=observer):
                self.assert_same("--method", "rtn", "--group-size", 64, "--weight-observer", observer)
        self.assert_same("--method", "rtn", "--scheme", "W8A8", data=False)


class OneLayerOfTinyLlama(Threads):
    """On few rows: widths decide how products are divided, rows only how often."""
    rows, length = 2, 32
    shape = {"hidden": 2048, "inner": 5632, "layers": 1}

    def test_best(self):
        # Seven factorizations in f64 of inputs of 5632 columns would take minutes; 2048 are as many tiles of every kind.
        self.assert_same(*self.recipe("GPTQModifier: {targets: ['re:.*(k|o)_proj'], ignore: [lm_head], scheme: W4A16, group_size: 64, quality: best}"))


@unittest.skipUnless(os.environ.get("SWAGE_LONG_TESTS"), "minutes of two processors: SWAGE_LONG_TESTS=1 runs them")
class InputsOf5632Columns(Threads):
    rows, length, shape = OneLayerOfTinyLlama.rows, OneLayerOfTinyLlama.length, OneLayerOfTinyLlama.shape
    # Linears with inputs of both widths; the others differ from these in their rows alone.
    ONE_OF_EACH = "targets: ['re:.*(o|down)_proj'], ignore: [lm_head]"

    def test_fast(self):
        self.assert_same(*self.recipe(f"GPTQModifier: {{{self.ONE_OF_EACH}, scheme: W4A16, group_size: 64, quality: fast}}"))

    def test_the_default_and_awq(self):
        self.assert_same(*self.recipe("AWQModifier: {}", f"GPTQModifier: {{{self.ONE_OF_EACH}, scheme: W4A16_ASYM, group_size: 64}}"))

    def test_sparsegpt_at_nvfp4(self):
        self.assert_same(*self.recipe(f'SparseGPTModifier: {{sparsity: 0.5, mask_structure: "2:4", {self.ONE_OF_EACH}}}',
                                      f"GPTQModifier: {{{self.ONE_OF_EACH}, scheme: NVFP4A16, quality: fast}}"))


if __name__ == "__main__":
    unittest.main()
