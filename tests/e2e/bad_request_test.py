"""Texts, options, recipes and output folders that cannot be: said in one line, with an exit code, and nothing is left behind.

Exit codes: 2 asked for something that cannot be, 1 a file or the machine is at fault.
"""
import os
import re
import resource
import shutil
import subprocess
import tempfile
import unittest

from support import EndToEnd, ROOT, quoted, read_safetensors, run, write_safetensors

DATA = ROOT / "tests" / "data" / "data"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


class Texts(EndToEnd):
    def refused(self, text, *parts, code=1, more=()):
        path = text
        self.assert_refused(self.compress(self.model(), "-d", path, "--max-seq-length", 32, "--group-size", 16, *more), code, *parts)
        self.assert_refused(run("eval", self.model(), "-d", path, "--window", 32, *[m for m in more if m != "--no-pack"]), code, *parts)

    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def test_no_such_file(self):
        self.refused(self.folder / "absent.jsonl", r"absent\.jsonl")

    def test_empty_dataset(self):
        self.refused(self.write("empty.jsonl", ""), r"empty\.jsonl", "empty", code=2)
        self.refused(self.write("empty.txt", ""), r"empty\.txt", "empty", code=2)
        self.refused(self.write("blank.jsonl", '{"text": ""}\n{"text": " "}\n'), r"blank\.jsonl|token", code=2)
        self.refused(DATA / "empty.parquet", r"empty\.parquet", code=2)

    def test_column_not_found_lists_columns(self):
        path = self.write("other.jsonl", '{"content": "a b c", "id": 1}\n')
        self.refused(path, r"other\.jsonl", "content", "id", code=2)
        self.refused(path, r"other\.jsonl", "body", "content", code=2, more=("--text-column", "body"))
        self.refused(DATA / "calib_small.parquet", r"calib_small\.parquet", "body", "text", code=2, more=("--text-column", "body"))

    def test_column_of_another_type(self):
        self.refused(self.write("number.jsonl", '{"text": 5}\n'), r"number\.jsonl", "text")

    def test_fewer_tokens_than_one_row(self):
        path = self.write("short.jsonl", '{"text": "a b c"}\n')
        self.refused(path, "token", "32", code=2)
        self.assert_refused(self.compress(self.model(), "-d", path, "--max-seq-length", 32, "--group-size", 16, "--no-pack"), 2, "token|document", "32")

    def test_invalid_utf8(self):
        self.refused(self.write("latin.jsonl", b'{"text": "caf\xe9 noir"}\n'), r"latin\.jsonl", "UTF-8|utf-8|UTF8")
        self.refused(self.write("latin.txt", b"caf\xe9 noir\n"), r"latin\.txt", "UTF-8|utf-8|UTF8")
        self.refused(DATA / "bad_utf8.parquet", r"bad_utf8\.parquet", "UTF-8|utf-8|UTF8")

    def test_broken_json_line_is_numbered(self):
        self.refused(self.write("broken.jsonl", '{"text": "a"}\n{"text": \n'), r"broken\.jsonl", r"\b2\b")

    def test_corrupt_parquet(self):
        whole = (DATA / "calib_small.parquet").read_bytes()
        self.refused(self.write("cut.parquet", whole[:len(whole) // 2]), r"cut\.parquet")
        self.refused(self.write("noise.parquet", b"PAR1" + bytes(range(256)) * 8 + b"PAR1"), r"noise\.parquet")
        damaged = bytearray(whole)
        damaged[1000:3000] = bytes(2000)
        self.refused(self.write("damaged.parquet", bytes(damaged)), r"damaged\.parquet")

    def test_unknown_kind_of_file(self):
        self.refused(self.write("text.docx", "a b c"), r"text\.docx", "jsonl", "parquet", code=2)

    def test_window_larger_than_the_text(self):
        path = self.write("short.jsonl", '{"text": "a b c d e f g"}\n')
        self.assert_refused(run("eval", self.model(), "-d", path, "--window", 64), 2, "64", "token")

    def test_window_larger_than_the_model(self):
        self.assert_refused(run("eval", self.model(), "-d", self.text, "--window", 4096), 2, "4096", "128")

    def test_rows_longer_than_the_model(self):
        self.assert_refused(self.compress(self.model(), "-d", self.text, "--max-seq-length", 4096, "--group-size", 16), 2, "4096", "128")

    def test_gptq_without_data(self):
        self.assert_refused(self.compress(self.model(), "--group-size", 16), 2, "data", "-d")


class Requests(EndToEnd):
    def refused(self, arguments, *parts, code=2):
        with self.subTest(arguments=arguments):
            self.assert_refused(self.compress(self.model(), "-d", self.text, "--max-seq-length", 32, *arguments), code, *parts)

    def test_patterns_that_match_nothing(self):
        self.refused(("--group-size", 16, "--targets", "Conv1D"), "targets", "Conv1D")
        self.refused(("--group-size", 16, "--targets", "re:("), r"re:\(", "not a regular expression")
        self.refused(("--group-size", 16, "--ignore", "Linear"), "nothing to quantize|leaves nothing")

    def test_group_size_that_does_not_divide(self):
        self.refused(("--group-size", 48), "48", r"32 columns of model.layers.0.self_attn.q_proj and \d+ more: use --group-size 32$")
        self.refused((), "128", "use --group-size 32$")
        self.refused(("--group-size", 0), "group.size.*0")
        self.refused(("--group-size", -7), "group.size.*-7")
        self.refused(("--scheme", "W8A8", "--group-size", 16), "group.size")

    def test_bad_option_values(self):
        self.refused(("--scheme", "W3A5"), "W3A5", "W4A16")
        self.refused(("--group-size", "many"), "group.size", "many")
        self.refused(("--group-size", "16.5"), "group.size", "16.5")
        self.refused(("--actorder", "random"), "random", "static", "group")
        self.refused(("--scale-search", "max"), "max", "absmax")
        self.refused(("--norm", "0"), "norm")
        self.refused(("--norm", "nan"), "norm")
        self.refused(("--dampening-frac", "-1"), "dampening")
        self.refused(("--dampening-frac", "nan"), "dampening")
        self.refused(("--method", "gtpq"), "gtpq", 'did you mean "gptq"')
        self.refused(("--num-calibration-samples", 0, "--group-size", 16), "num-calibration-samples")
        self.refused(("--max-seq-length", -5, "--group-size", 16), "max-seq-length")
        self.refused(("--max-shard-size", -1, "--group-size", 16), "max-shard-size")
        self.refused(("--max-shard-size", "nan", "--group-size", 16), "max-shard-size")
        self.refused(("--max-shard-size", "1e300", "--group-size", 16, "--dry-run"), "max-shard-size")
        self.refused(("--threads", -1, "--group-size", 16), "threads")
        self.refused(("--device", "tpu", "--group-size", 16), "tpu", "cpu")
        self.refused(("--symmetric=maybe", "--group-size", 16), "symmetric", "maybe")
        self.refused(("--group_size", 16), "group_size")
        self.refused(("--no-such-option",), "no-such-option")

    def test_cuda_without_a_gpu(self):
        if os.path.exists("/dev/nvidiactl"):
            self.skipTest("this machine has a GPU")
        self.refused(("--device", "cuda", "--group-size", 16), "cuda|GPU", code=1)
        for more in ((), ("--model-free", "--method", "rtn")):
            self.refused(("--device-map", "cuda", "--group-size", 16, *more), "no NVIDIA driver is installed|the NVIDIA driver finds no GPU", code=1)

    def test_device_maps(self):
        self.refused(("--device-map", "balanced", "--group-size", 16), "balanced", "auto, auto_offload, cpu or cuda")
        self.refused(("--device-map", "cpu", "--device", "cuda", "--group-size", 16), "contradict")
        refused = self.compress(self.model(), *self.calibrated("--device-map", "auto", "--max-memory", "cpu=100MiB"))
        self.assert_refused(refused, 2, "max-memory 100 MiB: this run needs more")

    def test_missing_arguments(self):
        self.assert_refused(run("compress", self.model()), 2, "output")
        self.assert_refused(run("compress", "-o", self.out), 2, "model")
        self.assert_refused(run("eval", self.model()), 2, "data")
        self.assert_refused(run("generate", self.model()), 2, "prompt")
        self.assert_refused(run(), 2, "help")
        self.assert_refused(run("compres"), 2, "compres", "help|compress")

    def test_generate_options(self):
        model = self.model()
        self.assert_refused(run("generate", model, "-p", ""), 2, "prompt")
        self.assert_refused(run("generate", model, "-p", "a", "--temperature", -1), 2, "temperature")
        self.assert_refused(run("generate", model, "-p", "a", "--temperature", "nan"), 2, "temperature")
        self.assert_refused(run("generate", model, "-p", "a", "--top-p", 2), 2, "top-p")
        self.assert_refused(run("generate", model, "-p", "a", "--max-new-tokens", 0), 2, "max-new-tokens")
        self.assert_refused(run("generate", model, "-p", "river " * 200, "--max-new-tokens", 5), 2, "128", "token")

    def test_eval_options(self):
        for window in (0, 1, -3):
            self.assert_refused(run("eval", self.model(), "-d", self.text, "--window", window), 2, "window")
        self.assert_refused(run("eval", self.model(), "-d", self.text, "--max-windows", -1), 2, "max-windows")

    def test_recipes(self):
        model, recipe = self.model(), self.folder / "recipe.yaml"
        self.assert_refused(self.compress(model, "--recipe", recipe), 1, r"recipe\.yaml")
        for text, parts in (("quant_stage: {quant_modifiers: {GPTQModifier: {scheme: W4A16, dampning_frac: 0.1}}}", ("dampning_frac", "did you mean \"dampening_frac\"")),
                            ("quant_stage: {quant_modifiers: {AutoRoundModifier: {scheme: W4A16}}}", ("AutoRoundModifier", "quality: best")),
                            ("quant_stage: {quant_modifiers: {GPTQModifer: {scheme: W4A16}}}", ("GPTQModifer", "did you mean \"GPTQModifier\"")),
                            ("quant_stage: {quant_modifiers: {GPTQModifier: {scheme: W4A16, dampening_frac: much}}}", ("dampening_frac",)),
                            ("quant_stage: {quant_modifiers: {GPTQModifier: {}}}", ("scheme",)),
                            ("quant_stage: [1, 2", ()), ("", ()), ("5", ()), ("quant_stage: {}", ()), ("a: &a [*a, *a]", ()),
                            ("quant_stage: {quant_modifiers: {GPTQModifier: {scheme: W4A16, config_groups: {group_0: {weights: {num_bits: 99}}}}}}", ("scheme",)),
                            ("quant_stage: {quant_modifiers: {GPTQModifier: {config_groups: {group_0: {targets: [Linear], weights: {num_bits: 99}}}}}}", ("num_bits",))):
            with self.subTest(text=text):
                recipe.write_text(text)
                result = self.compress(model, "--recipe", recipe, "-d", self.text)
                self.assertIn(result.returncode, (1, 2))
                self.assert_refused(result, result.returncode, r"recipe\.yaml", *parts)
        for scheme in ("num_bits: 99", "num_bits: 4, is_mx: true", "num_bits: 4, symmetric: 5"):  # a recipe asks for something, it is no damaged file
            recipe.write_text("quant_stage: {quant_modifiers: {GPTQModifier: {config_groups: {group_0: {targets: [Linear], weights: {%s}}}}}}" % scheme)
            self.assert_refused(self.compress(model, "--recipe", recipe, "-d", self.text), 2, r"recipe\.yaml.*config_groups: group_0: weights")
        recipe.write_text("quant_stage: {quant_modifiers: {GPTQModifier: {scheme: 4}}}")
        self.assert_refused(self.compress(model, "--recipe", recipe, "-d", self.text), 2, r"recipe\.yaml.*scheme: expected a string")


class Output(EndToEnd):
    def test_existing_output_is_kept(self):
        self.out.mkdir()
        (self.out / "mine.txt").write_text("precious")
        result = self.compress(self.model(), *self.calibrated())
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertRegex(result.stderr, r"swage: error: .*not empty.*--overwrite")
        self.assertEqual([p.name for p in self.out.iterdir()], ["mine.txt"])

    def test_existing_file_as_output(self):
        self.out.write_text("a file")
        result = self.compress(self.model(), *self.calibrated("--overwrite"))
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(self.out.read_text(), "a file")

    def test_failed_overwrite_keeps_the_old_folder(self):
        self.out.mkdir()
        (self.out / "mine.txt").write_text("precious")
        model = self.model()
        tensors = read_safetensors(model / "model.safetensors")
        dtype, shape, data = tensors[Q_PROJ]
        tensors[Q_PROJ] = (dtype, shape, b"\xc0\x7f" * (len(data) // 2))
        write_safetensors(model / "model.safetensors", tensors)
        result = self.compress(model, *self.calibrated("--overwrite"))
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual([p.name for p in self.out.iterdir()], ["mine.txt"])

    def test_source_as_output(self):
        model = self.model()
        before = {p.name: p.read_bytes() for p in model.iterdir()}
        result = self.compress(model, *self.calibrated("--overwrite"), out=model)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertRegex(result.stderr, "swage: error: .*(source|input|model)")
        self.assertEqual({p.name: p.read_bytes() for p in model.iterdir()}, before)

    def test_unwritable_output(self):
        model = self.model()
        for out in (self.text / "out", "/proc/out/deeper"):
            with self.subTest(out=out):
                result = self.compress(model, *self.calibrated(), out=out)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertRegex(result.stderr.splitlines()[-1], rf"^swage: error: .*{quoted(str(out).rsplit('/', 2)[-2])}")
        self.assert_nothing_left()

    def test_memory_budget(self):
        for size, part in (("gpu=1GiB", "expected one budget"), ("cpu=lots", "expected a size"), ("cpu=0", "expected a size")):
            self.assert_refused(self.compress(self.model(), *self.calibrated("--max-memory", size)), 2, "--max-memory: ", part)
        self.assert_refused(self.compress(self.model(), *self.calibrated("--max-memory", "cpu=1GiB,cuda:0=1GiB")), 2, "budgets of GPUs are not supported yet")
        for arguments in (self.calibrated(), ("--method", "rtn", "--group-size", 16, "--model-free")):
            refused = self.compress(self.model(), *arguments, "--max-memory", "cpu=100MiB")
            self.assert_refused(refused, 2, "max-memory 100 MiB: this run needs more; the smallest that would do is cpu=")
            enough = re.search(r"would do is (cpu=\d+ MiB)", refused.stderr)[1]
            self.assert_succeeds(self.compress(self.model(), *arguments, "--max-memory", enough, "--overwrite"))
            shutil.rmtree(self.out)

    def test_file_size_limit(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        self.assert_refused(self.compress(self.model(), *self.calibrated(), preexec_fn=limit), 1, r"safetensors|\.partial|out", "large|space|limit")

    def test_full_disk(self):
        disk = tempfile.mkdtemp(prefix="swage-e2e-disk-")
        self.addCleanup(shutil.rmtree, disk, ignore_errors=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", disk], capture_output=True)
        self.assert_refused(self.compress(self.model(), *self.calibrated(), out=f"{disk}/out"), 1, "space")
        self.assertEqual(os.listdir(disk), [])


if __name__ == "__main__":
    unittest.main()
