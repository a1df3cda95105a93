"""The command line itself: mistakes in it, JSON of errors and results, exit codes, completion, the man page, presets and their readers."""
import json
import re
import shutil
import subprocess
import unittest

from support import PROGRAM, EndToEnd, edit_json, make_llama, quoted, read_safetensors, run, write_safetensors


class Mistakes(EndToEnd):
    """What was given and is not known comes before what is missing."""

    def refused(self, *arguments, parts=(), without=()):
        result = run(*arguments)
        self.assert_refused(result, 2, *parts)
        for part in without:
            self.assertNotRegex(result.stderr, part)

    def test_the_unknown_option_is_named_first(self):
        self.refused("eval", "M", "--tasks", "gsm8k", parts=["unknown option --tasks"], without=["did you mean --data", "is required"])
        self.refused("compress", "M", "--outputt", "x", parts=["unknown option --outputt; did you mean --output\\?"])
        self.refused("compress", "M", "-o", "x", "--group_size=16", parts=["unknown option --group_size; did you mean --group-size"])
        self.refused("compress", "M", "-o", "x", "--sheme", "W4A16", parts=["unknown option --sheme; did you mean --scheme"], without=["W4A16 --sheme"])

    def test_suggestions_are_near(self):
        for option in ("--bits", "--config", "--quantize", "--tokens"):
            self.refused("compress", "M", "-o", "x", option, "4", parts=[f"unknown option {option}", "--help explains"], without=["did you mean"])
        self.refused("inspect", "-V", parts=["unknown option -V", "--help explains"], without=["did you mean"])
        for command in ("quantise-it", "quantize", "finetune"):
            self.refused(command, parts=[f"\"{command}\" is no command"], without=["did you mean"])
        self.refused("compres", parts=["did you mean compress"])
        self.refused("frobnicate", "--sort", "error", parts=["\"frobnicate\" is no command"], without=["unknown option"])

    def test_words_of_other_programs_are_understood(self):
        for word, part in (("W4A15", "did you mean W4A16"), ("int4", "did you mean W4A16"), ("GPTQ", "give it as --method"), ("Q4_K_M", "type of GGUF"), ("nothing-like-it", "known: W4A16")):
            self.refused("compress", self.model(), "-o", self.out, "--method", "rtn", "--scheme", word, parts=["unknown scheme", part])
        for method, option, part in (("rtn", "--sparsity", "--sparsity belongs to --method sparsegpt, wanda, magnitude, reap, not to rtn"), ("gptq", "--sparsity", "not to gptq"),
                                     ("rtn", "--sweeps", "--sweeps belongs to --method gptq, sparsegpt, wanda")):
            self.refused("compress", self.model(), "-o", self.out, "--method", method, option, "1", parts=[part])

    def test_methods_in_any_case(self):
        self.assert_succeeds(self.compress(self.model(), *self.calibrated("--method", "RTN", "--dry-run")))

    def test_quiet_and_verbose_exclude_each_other_everywhere(self):
        self.refused("inspect", self.model(), "-q", "-v", parts=["--quiet and --verbose exclude each other"])

    def test_a_log_file_that_cannot_be(self):
        for command in (("inspect", self.model()), ("schemes",)):
            self.assert_refused(run(*command, "--log-file", self.folder), 1, "--log-file")
        result = run("inspect", self.model(), "--json", "--log-file", self.folder)
        self.assertEqual((result.returncode, json.loads(result.stdout)["error"]["kind"]), (1, "Io"))

    def test_an_option_without_its_value_does_not_take_the_next_option(self):
        for words in (["--seed", "--json"], ["--seed=", "--threads", "1"], ["-d", "--json"], ["--recipe", "--dry-run"], ["--seed"]):
            result = subprocess.run([PROGRAM, "compress", "M", "-o", "x", *words], capture_output=True, text=True)
            self.assertEqual((result.returncode, result.stderr.count("\n")), (2, 1))
            self.assertIn(f"{words[0].strip('=')}: a value is missing", result.stderr)
        for command, words in (("compress", ("--json", "--seed=")), ("eval", ("-d", "--json"))):
            document = json.loads(run(command, "M", *words).stdout)
            self.assertEqual((document["command"], document["error"]["kind"]), (command, "InvalidArgument"))

    def test_missing_ones_are_named(self):
        self.refused("eval", "M", parts=["--data", "required"], without=["did you mean"])
        self.refused("compress", "M", parts=["--output", "required"])

    def test_a_second_value_of_a_list(self):
        self.refused("compress", "M", "-o", "x", "--ignore", "lm_head", "model.norm", parts=["\"model.norm\" is not expected", "--ignore model.norm"])

    def test_of_a_repeated_option_the_last_counts(self):
        result = self.compress(self.model(), *self.calibrated("--seed", 1, "--seed", 5, "--scheme", "W8A16", "--scheme", "W4A16", "--max-seq-length", 16, "--json"))
        report = json.loads(self.assert_succeeds(result).stdout)
        self.assertEqual((report["seed"], report["plan"]["tokens_per_row"], report["modules"][0]["scheme"]), (5, 16, "W4A16 g16"))

    def test_sizes_have_units(self):
        model = self.model()
        for size in ("10000B", "10 KB", 10000 / 2**30):
            out = self.folder / str(size).replace(" ", "")
            self.assert_succeeds(run("compress", model, "-o", out, "--method", "rtn", "--group-size", 16, "--max-shard-size", size))
            self.assertTrue((out / "model.safetensors.index.json").exists(), size)
        self.refused("compress", model, "-o", self.out, "--max-shard-size", "5XB", parts=["--max-shard-size", "5XB", "2GiB"])


class Numbers(EndToEnd):
    """A number that is none, or none that fits, is one line with the option's name, whatever the option."""

    TEXT = {"--help", "--output", "--recipe", "--method", "--rotate", "--for", "--model-free", "--device", "--architecture", "--json", "--quiet", "--verbose", "--log-file", "--targets",
            "--ignore", "--scheme", "--symmetric", "--weight-observer", "--input-observer", "--output-observer", "--candidates", "--scale-search", "--actorder", "--quality",
            "--refit-scales", "--target", "--sparsity-profile", "--swap-supports", "--mask-structure", "--preserve-sparsity-mask", "--report-path", "--objective", "--algorithm", "--data",
            "--text-column", "--no-pack", "--shuffle", "--moe-routed", "--device-map", "--offload-folder", "--overwrite", "--restart", "--no-resume", "--dry-run", "--trace", "--no-check",
            "--baseline", "--token-ids", "--save-logits", "--save-hidden", "--prompt", "--prompt-file", "--prompts", "--system", "--raw", "--stop", "--kv-cache-type", "--json-object", "--json-schema", "--regex", "--grammar", "--prompt-logprobs", "--to", "--dtype",
            "--allow-rounding", "--layers", "--sort", "--filter", "--program", "--private", "--public", "--revision", "--message"}

    def given(self, command):
        """What a command needs beside the option that is looked at."""
        model, data = self.model(), self.calibrated()
        return {"compress": [model, "-o", self.out, "--dry-run", *data], "eval": [model, "-d", data[1]], "generate": [model, "-p", "x"], "chat": [model], "estimate": [model, "--group-size", 16],
                "convert": [model, self.out, "--to", "dense"], "inspect": [model], "schemes": [model], "push": [model, "a/b"]}[command]

    def test_every_option_of_every_command(self):
        seen = set()
        for command in ("compress", "eval", "generate", "chat", "estimate", "convert", "inspect", "schemes", "push"):
            options = set(re.findall(r"^ +(?:-\w,)?(--[\w-]+)", run(command, "--help").stdout, re.M))
            for option in sorted(options - self.TEXT):
                seen.add(option)
                methods = {"--sparsity": "sparsegpt", "--owl-m": "sparsegpt --sparsity 0.5", "--owl-lmbda": "sparsegpt --sparsity 0.5", "--init-sparsity": "magnitude", "--smoothing-strength": "smoothquant", "--n-grid": "awq"}
                given = [*self.given(command), *(f"--method {methods[option]}".split() if option in methods else ())]
                if methods.get(option, "").split(" ")[0] in ("magnitude", "sparsegpt") and "--group-size" in given:
                    at = given.index("--group-size")
                    del given[at:at + 2]
                for value in ("nan", "1e400", "1.5x", ""):
                    result = run(command, *given, f"{option}={value}")
                    self.assert_refused(result, 2)
                    self.assertIn(option.strip("-").replace("-", "_").removeprefix("init_"), result.stderr.replace("-", "_"), (command, option, value))
                    self.assertNotRegex(result.stderr, "Could not convert|required|json.exception", (command, option, value))
        self.assertGreater(len(seen), 30)

    def test_whole_numbers_are_not_rounded(self):
        for command, value, words in (("generate", "1.5", "0 to 18446744073709551615"), ("generate", "18446744073709551616", "0 to 18446744073709551615"), ("eval", "-1", "from 0"), ("eval", "0x10", "whole number")):
            self.assert_refused(run(command, *self.given(command), "--seed", value), 2, f"--seed: \"{value}\": expected a whole number", words)
        for option in ("--window", "--max-windows", "--threads"):
            self.assert_refused(run("eval", *self.given("eval"), option, "16.5"), 2, f"{option}: \"16.5\": expected a whole number from")
        self.assert_succeeds(run("compress", *self.given("compress"), "--seed", "18446744073709551615"))


class Results(EndToEnd):
    """What a command prints gets to where it was sent, or the exit code says that it did not."""

    def test_a_full_disk_is_seen(self):
        for command in (("inspect", self.model()), ("inspect", self.model(), "--json"), ("schemes",), ("--help",)):
            with open("/dev/full", "w") as full:
                result = subprocess.run([PROGRAM, *map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(result.returncode, 1, command)
            self.assertRegex(result.stderr, "standard output: the result could not be written")

    def test_a_reader_that_goes_away_is_no_error(self):
        result = subprocess.run(["bash", "-c", f"{PROGRAM} help compress | head -1; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
        self.assertIn(result.returncode, (0, 128 + 13), result.stderr)

    def test_closed_streams_do_not_become_files(self):
        source, options = self.model(), "--method rtn --group-size 16 --no-check"
        wanted, found = self.folder / "wanted", self.folder / "found"
        self.assert_succeeds(run("compress", source, "-o", wanted, *options.split()))
        for closed in ("0<&- 1>&- 2>&-", "1>&-", "2>&-", "0<&- 2>&-"):
            with self.subTest(closed):
                shutil.rmtree(found, ignore_errors=True)
                self.assertEqual(subprocess.run(["bash", "-c", f"exec {closed}; exec {PROGRAM} compress {source} -o {found} {options}"]).returncode, 0)
                for name in ("model.safetensors", "config.json", "tokenizer.json"):
                    self.assertEqual((found / name).read_bytes(), (wanted / name).read_bytes(), name)


class Json(EndToEnd):
    def document(self, result, command):
        document = json.loads(result.stdout)
        self.assertEqual((document["schema_version"], document["command"]), (2, command))
        self.assertRegex(document["swage"], r"^\d+\.\d+\.\d+$")
        return document

    def test_every_command_begins_alike(self):
        model = self.model()
        for command in (("inspect", model), ("eval", model, "-d", self.text, "--window", 32, "--max-windows", 1), ("generate", model, "-p", "the", "--max-new-tokens", 1),
                        ("estimate", model, "--method", "rtn", "--group-size", 16, "--rates", "gemm=1T,copy=1T,disk=1T"), ("schemes",), ("version",)):
            self.document(self.assert_succeeds(run(*command, "--json")), command[0])
        compressed = self.document(self.assert_succeeds(self.compress(model, "--method", "rtn", "--group-size", 16, "--json")), "compress")
        self.assertRegex(compressed["command_line"], "^swage compress llama32_tied -o OUT --recipe recipe.yaml$")
        converted = run("convert", self.out, self.folder / "converted", "--to", "dense", "--json")
        self.document(self.assert_succeeds(converted), "convert")

    def error(self, code, kind, *command):
        result = run(*command, "--json")
        self.assertEqual(result.returncode, code, result.stderr)
        error = json.loads(result.stdout)["error"]
        self.assertEqual(sorted(error), ["hint", "kind", "message"])
        self.assertEqual(error["kind"], kind)
        self.assertEqual(result.stderr.splitlines()[-1], "swage: error: " + error["message"])
        self.assertTrue(error["hint"])
        return error

    def test_errors_are_documents_and_their_kind_is_the_exit_code(self):
        model = self.model()
        self.error(2, "InvalidArgument", "compress", model, "-o", self.out, "--sheme", "W4A16")
        self.assertEqual(self.error(2, "InvalidArgument", "eval", model)["hint"], "swage eval --help explains the options")
        self.error(1, "Io", "eval", model, "--window", 32, "-d", self.folder / "absent.jsonl")
        self.error(2, "Unsupported", "compress", model, "-o", self.out, "--model-free")
        (model / "config.json").write_text("{")
        self.error(1, "CorruptData", "inspect", model)

    def test_gguf_is_refused_by_name(self):
        model = self.model()
        (model / "model.safetensors").rename(model / "model.gguf")
        for source in (model, model / "model.gguf"):
            for command in (("inspect", source), ("eval", source, "-d", self.text), ("compress", source, "-o", self.out, "--method", "rtn")):
                self.assertIn("is GGUF: swage convert FILE.gguf FOLDER --to dense", self.error(2, "Unsupported", *command)["message"])

    def test_an_unknown_architecture_is_the_request(self):
        model = self.model()
        edit_json(model / "config.json", model_type="gemma_nine")
        error = self.error(2, "Unsupported", "compress", model, "-o", self.out, "-d", self.text, "--max-seq-length", 32)
        self.assertIn("--method rtn", error["hint"])
        self.assertIn("without -d", error["hint"])


class DryRun(EndToEnd):
    def test_an_output_that_exists_is_no_obstacle(self):
        self.out.mkdir()
        (self.out / "mine").write_text("kept")
        result = self.assert_succeeds(self.compress(self.model(), "--method", "rtn", "--group-size", 16, "--dry-run"))
        self.assertRegex(result.stderr, "will need --overwrite")
        self.assertEqual([p.name for p in self.out.iterdir()], ["mine"])

    def test_pruning_is_told_as_such(self):
        result = self.assert_succeeds(self.compress(self.model(), "--method", "magnitude", "--sparsity", 0.5, "--dry-run"))
        self.assertRegex(result.stderr, r"plan: 21 modules pruned;")
        self.assertRegex(result.stdout, r"(?m)^ +pruned +21 modules$")
        self.assertNotIn(" 0 modules", result.stderr + result.stdout)

    def test_space_is_looked_at(self):
        space = shutil.disk_usage("/proc")  # a place of no size at all
        self.assertEqual(space.free, 0)
        result = run("compress", self.model(), "-o", "/proc/out", "--method", "rtn", "--group-size", 16, "--dry-run")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, r"KiB needed for the output, 0 B free")

    def test_model_free_is_said(self):
        model = self.model()
        edit_json(model / "config.json", model_type="gemma_nine")
        result = self.assert_succeeds(self.compress(model, "--method", "rtn", "--group-size", 16))
        self.assertRegex(result.stderr, r"model-free, because model_type \"gemma_nine\" is not known.*no perplexity")


class Inspect(EndToEnd):
    def compressed(self):
        self.assert_succeeds(self.compress(self.model(), *self.calibrated()))
        return self.out

    def names(self, *options):
        document = json.loads(self.assert_succeeds(run("inspect", self.out, "--json", *options)).stdout)
        return [module["name"] for module in document["modules"]]

    def test_begins_with_a_summary(self):
        text = self.assert_succeeds(run("inspect", self.compressed())).stdout
        self.assertRegex(text, r"^  model type +llama\n")
        self.assertRegex(text, r"(?m)^  embeddings +[\d.]+ % of the size")
        self.assertRegex(text, r"(?m)^W4A16 g16 +21 .* %")
        self.assertRegex(text, r"(?m)^self_attn\.q_proj +W4A16 g16 +3 ")
        self.assertLess(text.index("self_attn.q_proj "), text.index("mlp.gate_proj "))
        self.assertRegex(text, r"and 7 without a matrix")
        summary = json.loads(run("inspect", self.out, "--json").stdout)["summary"]
        self.assertAlmostEqual(sum(kind["share"] for kind in summary["kinds"]), 1, places=9)
        self.assertEqual([layer["layer"] for layer in summary["layers"]], [0, 1, 2])

    def test_order_filter_and_layers(self):
        self.compressed()
        names = self.names()
        self.assertEqual(names[0], "model.embed_tokens")
        self.assertEqual(names[1:5], ["model.layers.0.input_layernorm"] + [f"model.layers.0.self_attn.{n}_proj" for n in "qkv"])
        errors = [m.get("relative_error", -1) for m in json.loads(run("inspect", self.out, "--json", "--sort", "error").stdout)["modules"]]
        self.assertEqual(errors, sorted(errors, reverse=True))
        self.assertEqual(self.names("--filter", "down"), [f"model.layers.{i}.mlp.down_proj" for i in range(3)])
        self.assertEqual(self.names("--filter", "*.1.mlp.*_proj"), [f"model.layers.1.mlp.{n}_proj" for n in ("gate", "up", "down")])
        self.assertRegex(self.assert_succeeds(run("inspect", self.out, "--layers")).stdout, r"(?m)^2 +W4A16 g16 +9 ")
        self.assertEqual(run("inspect", self.out, "--filter", "nothing").returncode, 2)
        self.assertEqual(run("inspect", self.out, "--sort", "colour").returncode, 2)

    def test_numbers_count_as_numbers(self):
        names = [f"model.layers.{i}.mlp.down_proj" for i in (0, 1, 2, 9, 10, 11)]
        model = self.model()
        tensors = read_safetensors(model / "model.safetensors")
        one = tensors["model.layers.0.mlp.down_proj.weight"]
        write_safetensors(model / "model.safetensors", {name + ".weight": one for name in reversed(names)})
        shown = json.loads(self.assert_succeeds(run("inspect", model, "--json")).stdout)
        self.assertEqual([m["name"] for m in shown["modules"]], names)


class Texts(EndToEnd):
    def test_completion_in_bash(self):
        script = self.folder / "swage.bash"
        script.write_text(self.assert_succeeds(run("completion", "bash")).stdout)

        def complete(*words):
            line = f"source {script}; COMP_WORDS=({' '.join(repr(w) for w in ('swage', *words))}); COMP_CWORD={len(words)}; _swage; printf '%s\\n' \"${{COMPREPLY[@]}}\""
            return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, cwd=self.folder).stdout.split()

        self.assertEqual(complete("comp"), ["compress", "completion"])
        self.assertEqual(complete("compress", "--num"), ["--num-calibration-samples"])
        self.assertEqual(sorted(complete("compress", "--scheme", "FP8_")), ["FP8_BLOCK", "FP8_DYNAMIC"])
        self.assertEqual(complete("convert", "a", "--to", "gptq"), ["gptq", "gptq_v2"])
        self.assertEqual(complete("compress", "-d", "calib"), ["calibration.jsonl"])
        self.assertEqual(complete("help", "insp"), ["inspect"])

    def test_completion_of_other_shells(self):
        self.assert_refused(run("completion", "tcsh"), 2, "bash, zsh and fish")
        for shell, check in (("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
            script = self.folder / f"swage.{shell}"
            script.write_text(self.assert_succeeds(run("completion", shell)).stdout)
            for word in ("compress", "group-size", "W4A16"):
                self.assertIn(word, script.read_text())
            if shutil.which(check[0]):
                subprocess.run([*check, script], check=True)

    def test_man_page(self):
        page = self.assert_succeeds(run("man")).stdout
        self.assertRegex(page, r"^\.TH SWAGE 1 ")
        for text in (".SH NAME", ".SS swage compress", "\\fB\\-\\-group\\-size\\fR", ".SH EXIT STATUS", "HF_HUB_CACHE"):
            self.assertIn(text, page)
        self.assertNotRegex(page, r"(?m)^\.(?!TH|SH|SS|TP|PP|nf|fi|br|B )")  # no text that roff would take for a request


class Readers(EndToEnd):
    def test_presets_as_a_table(self):
        text = self.assert_succeeds(run("schemes")).stdout
        self.assertRegex(text, r"(?m)^W4A16 +4\.12 +\+8\.4 % +equal +equal +CPU, GPU 7\.5\+$")
        model = make_llama(self.folder / "wide")
        wide, narrow = ({preset["scheme"]: preset for preset in json.loads(self.assert_succeeds(run("schemes", source, "--json")).stdout)["presets"]} for source in (model, self.model()))
        for scheme in ("FP8_DYNAMIC", "W4A16"):
            plan = json.loads(self.assert_succeeds(self.compress(model, "--method", "rtn", "--scheme", scheme, "--dry-run", "--json")).stdout)["plan"]
            self.assertEqual(wide[scheme]["output_bytes"], plan["output_bytes"], scheme)
        self.assertNotIn("output_group_size", wide["W4A16"])
        self.assertEqual(narrow["W4A16"]["output_group_size"], 32)  # columns of 64 and 96

    def test_for_chooses_and_checks(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, "--method", "rtn", "--for", "vllm:hopper"))
        self.assertEqual(json.loads(run("inspect", self.out, "--json").stdout)["format"], "float-quantized")
        refused = ((("--for", "llama.cpp"), "GGUF"), (("--for", "vllm:turing", "--scheme", "FP8_DYNAMIC"), "8.9"), (("--for", "transformers", "--scheme", "W4A16_ASYM"), "compressed-tensors 0.20.0"),
                   (("--for", "vllm:cpu", "--scheme", "NVFP4"), "no CPU kernel"), (("--for", "vllm:tpu"), "vllm:blackwell"))
        for options, part in refused:
            result = self.compress(model, "--method", "rtn", *options, out=self.folder / "refused")
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertRegex(result.stderr, quoted(part))

    def test_files_that_readers_refuse_are_warned_of(self):
        group = self.assert_succeeds(self.compress(self.model(), *self.calibrated("--actorder", "group")))
        self.assertRegex(group.stderr, r"warning: actorder group: compressed-tensors from 0\.19 on and vLLM 0\.32")
        asymmetric = self.assert_succeeds(self.compress(self.model(), "--method", "rtn", "--scheme", "W4A16_ASYM", "--group-size", 16, out=self.folder / "asymmetric"))
        self.assertRegex(asymmetric.stderr, r"warning: zero points: transformers 5\.24\.0 with compressed-tensors 0\.20\.0 fails")
        plain = self.assert_succeeds(self.compress(self.model(), "--method", "rtn", "--group-size", 16, out=self.folder / "plain"))
        self.assertNotIn("warning", plain.stderr)
        mixture = self.model("qwen3_moe_fused")
        for scheme, options, warned in (("W8A8", (), True), ("W4A16", ("--group-size", 8), False)):
            result = self.assert_succeeds(self.compress(mixture, "--method", "rtn", "--scheme", scheme, *options, out=self.folder / scheme))
            self.assertEqual("does not load experts in this format" in result.stderr, warned, result.stderr)


if __name__ == "__main__":
    unittest.main()
