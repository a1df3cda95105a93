"""What compress makes, and that eval, generate and inspect take it: every scheme, order, recipe form and model family."""
import json
import shutil
import struct
import unittest

from support import EndToEnd, contents, make_text, read_checkpoint, read_json, run

LINEARS_OF_LAYER = 7  # llama: q, k, v, o, gate, up, down


class Outputs(EndToEnd):
    source_perplexity = {}  # by the golden model's name

    def perplexity(self, folder, text):
        result = json.loads(self.assert_succeeds(run("eval", folder, "-d", text, "--window", 32, "--max-windows", 16, "--json")).stdout)
        self.assertEqual(result["tokens"], 16 * 31)
        return result["perplexity"]

    def check_output(self, out, scheme, modules, source):
        """eval, generate and inspect work on it; eval is near the source's perplexity."""
        held = make_text(self.folder / "heldout.jsonl", seed=2, documents=6)
        if source.name not in self.source_perplexity:
            self.source_perplexity[source.name] = self.perplexity(source, held)
        # The golden models are random: noise of 4 bits moves their perplexity by percents, not by factors.
        self.assertLess(abs(self.perplexity(out, held) / self.source_perplexity[source.name] - 1), 0.25)
        generated = self.assert_succeeds(run("generate", out, "-p", "the river", "--max-new-tokens", 5, "--json"))
        self.assertIn("text", json.loads(generated.stdout))
        described = json.loads(self.assert_succeeds(run("inspect", out, "--json")).stdout)
        quantized = [m for m in described["modules"] if m["scheme"] != "float"]
        for module in quantized:
            self.assertRegex(module["scheme"], rf"^{scheme}$")
        self.assertEqual(len(quantized), modules)
        self.assertTrue(all("relative_error" in m for m in quantized))
        self.assertRegex(self.assert_succeeds(run("inspect", out)).stdout, scheme)

    def compress_and_check(self, arguments, scheme, model="llama32_tied", modules=3 * LINEARS_OF_LAYER):
        source = self.model(model)
        self.assert_succeeds(self.compress(source, *arguments))
        self.check_output(self.out, scheme, modules, source)

    def gptq(self, *more):
        return ("-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, *more)

    def test_gptq_w4a16_in_groups_of_16(self):
        self.compress_and_check(self.gptq("--group-size", 16), "W4A16 g16")

    def test_gptq_w4a16_in_groups_of_32_with_grouped_order(self):
        self.compress_and_check(self.gptq("--group-size", 32, "--actorder", "group"), "W4A16 g32")
        self.assertIn("model.layers.0.mlp.down_proj.weight_g_idx", read_checkpoint(self.out))

    def test_gptq_without_order_and_absmax_scales(self):
        self.compress_and_check(self.gptq("--group-size", 32, "--actorder", "none", "--scale-search", "absmax"), "W4A16 g32")
        weights = read_json(self.out / "config.json")["quantization_config"]["config_groups"]["group_0"]["weights"]
        self.assertIsNone(weights.get("actorder"))

    def test_rtn_w4a16_asym(self):
        self.compress_and_check(("--method", "rtn", "--scheme", "W4A16_ASYM", "--group-size", 16), "W4A16_ASYM g16")
        self.assertIn("model.layers.0.mlp.up_proj.weight_zero_point", read_checkpoint(self.out))

    def test_rtn_of_fused_experts(self):
        source = self.model("qwen3_moe_fused")
        self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", "W8A8"))
        out = read_checkpoint(self.out)
        dtype, shape, data = read_checkpoint(source)["model.layers.0.mlp.experts.gate_up_proj"]
        half, columns = shape[1] // 2, shape[2]
        code = out["model.layers.0.mlp.experts.1.up_proj.weight"]
        self.assertEqual(code[:2], ("I8", [half, columns]))
        self.assertEqual(dtype, "BF16")
        # The largest weight of a row has the largest code.
        start = (1 * 2 + 1) * half * columns * 2  # expert 1, second half, row 0
        row = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(start, start + 2 * columns, 2)]
        codes = struct.unpack(f"<{columns}b", code[2][:columns])
        top = max(range(columns), key=lambda i: abs(row[i]))
        self.assertGreaterEqual(abs(codes[top]), 127)

    def test_rtn_w8a16(self):
        self.compress_and_check(("--method", "rtn", "--scheme", "W8A16", "--group-size", -1), "W8A16")

    def test_gptq_w8a8(self):
        self.compress_and_check(self.gptq("--scheme", "W8A8"), "W8A8")
        self.assertEqual(read_checkpoint(self.out)["model.layers.0.mlp.up_proj.weight"][0], "I8")

    def test_rtn_fp8_dynamic(self):
        self.compress_and_check(("--method", "rtn", "--scheme", "FP8_DYNAMIC"), "FP8.*")
        self.assertEqual(read_checkpoint(self.out)["model.layers.0.mlp.up_proj.weight"][0], "F8_E4M3")

    def test_opt_in_both_layouts(self):
        self.compress_and_check(self.gptq("--group-size", 16), "W4A16 g16", "opt", modules=3 * 6)
        self.out = self.folder / "out350"
        # word_embed_proj_dim 16: project_in and project_out are Linear modules outside the layers
        self.compress_and_check(self.gptq("--group-size", 16, "--ignore", "re:.*project_(in|out)", "--ignore", "lm_head"), "W4A16 g16", "opt_350m",
                                modules=3 * 6)

    def test_mixture_of_experts_with_all_tokens(self):
        arguments = self.gptq("--group-size", 16, "--ignore", "re:.*block_sparse_moe.gate$", "--ignore", "lm_head")
        self.compress_and_check(arguments, "W4A16 g16", "mixtral", modules=3 * (4 + 4 * 3))

    def test_mixture_of_experts_with_routed_tokens_names_starved_experts(self):
        model = self.model("mixtral")
        arguments = ("-d", self.text, "--num-calibration-samples", 2, "--max-seq-length", 16, "--group-size", 16, "--moe-routed",
                     "--ignore", "re:.*block_sparse_moe.gate$", "--ignore", "lm_head")
        self.assert_succeeds(self.compress(model, *arguments))
        warnings = read_json(self.out / "swage_report.json")["warnings"]
        self.assertTrue(any("expert" in w and "fewer than" in w for w in warnings), warnings)
        self.check_output(self.out, "W4A16 g16", 3 * (4 + 4 * 3), model)

    def test_fused_experts(self):
        model = self.model("qwen3_moe_fused")
        result = self.compress(model, *self.gptq("--group-size", 8, "--ignore", "re:.*mlp.gate$", "--ignore", "lm_head"))
        self.assert_succeeds(result)
        self.check_output(self.out, "W4A16 g8", 3 * (4 + 4 * 3), model)


class Folder(EndToEnd):
    def test_untouched_tensors_and_files_are_copied_bit_for_bit(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, *self.calibrated()))
        before, after = read_checkpoint(model), read_checkpoint(self.out)
        untouched = [name for name in before if not name.endswith("_proj.weight")]
        self.assertIn("model.embed_tokens.weight", untouched)
        for name in untouched:
            self.assertEqual(before[name], after[name], name)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "LICENSE"):
            self.assertEqual((model / name).read_bytes(), (self.out / name).read_bytes(), name)
        source_config, config = read_json(model / "config.json"), read_json(self.out / "config.json")
        self.assertEqual(config.pop("quantization_config")["quant_method"], "compressed-tensors")
        self.assertEqual(config, source_config)
        self.assertNotIn("lm_head.weight", after, "tied embeddings must stay tied")

    def test_report_agrees_with_eval_and_text_output(self):
        model = self.model()
        result = self.assert_succeeds(self.compress(model, *self.calibrated()))
        report = read_json(self.out / "swage_report.json")
        check = report["check"]
        self.assertIn(f"{check['output_perplexity']:.3f} after", result.stdout)
        # The check's windows come from the last tenth of the documents: rebuilt here, eval must give the same numbers.
        lines = self.text.read_text().splitlines()
        tail = self.folder / "tail.jsonl"
        tail.write_text("\n".join(reversed(lines[-(len(lines) // 10):])) + "\n")
        for folder, key in ((model, "source_perplexity"), (self.out, "output_perplexity")):
            found = json.loads(run("eval", folder, "-d", tail, "--window", check["window"], "--max-windows", check["windows"], "--json").stdout)
            self.assertEqual(found["tokens"], check["tokens"])
            self.assertAlmostEqual(found["perplexity"] / check[key], 1, delta=1e-5)  # sums of f32 values in another order, and of codes with activations of 16 bits
        self.assertEqual(len(report["modules"]), 3 * LINEARS_OF_LAYER)
        self.assertTrue(all(0 < m["relative_error"] < 0.2 for m in report["modules"]))
        self.assertGreater(report["peak_rss_bytes"], 0)

    def test_activations_in_a_file_give_the_same_bytes(self):
        spill = self.folder / "spill"
        spill.mkdir()
        for name, arguments in (("gptq", ()), ("best", ("--quality", "best")), ("static", ("--scheme", "NVFP4"))):
            with self.subTest(name):
                options = ("-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, *(() if name == "static" else ("--group-size", 16)), *arguments)
                folders = [self.folder / f"{name}-memory", self.folder / f"{name}-file"]
                self.assert_succeeds(self.compress(self.model("mixtral"), *options, out=folders[0]))
                self.assert_succeeds(self.compress(self.model("mixtral"), *options, "--offload-folder", spill, out=folders[1]))
                self.assertEqual(contents(folders[0]), contents(folders[1]))
                self.assertEqual(list(spill.iterdir()), [])

    def test_a_budget_that_activations_exceed_sends_them_to_a_file(self):
        rows = ("-d", self.text, "--num-calibration-samples", 64, "--max-seq-length", 64, "--group-size", 16)
        self.assert_succeeds(self.compress(self.model(), *rows, out=self.folder / "free"))
        plan = read_json(self.folder / "free" / "swage_report.json")["plan"]
        self.assertFalse(plan["activations_in_file"])
        budget = plan["peak_bytes"] - plan["activation_bytes"] // 4
        self.assert_succeeds(self.compress(self.model(), *rows, "--max-memory", f"cpu={budget}"))
        report = read_json(self.out / "swage_report.json")
        self.assertTrue(report["plan"]["activations_in_file"])
        self.assertTrue(0 < report["plan"]["rows_in_file"] < 64, report["plan"]["rows_in_file"])
        self.assertLessEqual(report["plan"]["peak_bytes"], budget)
        self.assertEqual(read_checkpoint(self.folder / "free"), read_checkpoint(self.out))

    def test_what_reading_the_text_took_is_part_of_the_plan(self):
        line = json.dumps({"text": " ".join(["the river runs under an old stone bridge"] * 200)}) + "\n"
        self.text.write_text(line * 12000)  # 100 MB: more than all that a tiny model needs
        rows = ("-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, "--group-size", 16)
        self.assert_succeeds(self.compress(self.model(), *rows))
        report = read_json(self.out / "swage_report.json")
        self.assertEqual(report["plan"]["stages"][0]["name"], "read text")
        self.assertGreater(report["plan"]["peak_bytes"], 250e6)
        self.assertLessEqual(report["peak_rss_bytes"], 1.05 * report["plan"]["peak_bytes"])
        shutil.rmtree(self.out)
        self.assert_refused(self.compress(self.model(), *rows, "--max-memory", "cpu=200MiB"), 2, "max-memory 200 MiB: this run needs more")

    def test_device_maps_give_the_same_bytes_and_say_what_they_mean(self):
        rows = ("-d", self.text, "--num-calibration-samples", 64, "--max-seq-length", 64, "--group-size", 16)
        self.assert_succeeds(self.compress(self.model(), *rows, out=self.folder / "plain"))
        plan = read_json(self.folder / "plain" / "swage_report.json")["plan"]
        budget = plan["peak_bytes"] - plan["activation_bytes"] // 4
        for name, more, said in (("auto", (), "activations in memory"), ("cpu", (), "activations in memory"), ("auto_offload", (), "activations in memory .* at most of "),
                                 ("auto_offload", ("--max-memory", f"cpu={budget}"), r"activations of \d+ of 64 rows in a file, of the others in memory .* at most of ")):
            with self.subTest(map=name, more=more):
                result = self.assert_succeeds(self.compress(self.model(), *rows, "--device-map", name, *more, "--overwrite"))
                self.assertRegex(result.stderr, f"device map {name}: computed on the CPU; weights one layer at a time, from and to mapped files; {said}")
                self.assertEqual(read_json(self.out / "swage_report.json")["device_map"], name)
                self.assertEqual(read_checkpoint(self.folder / "plain"), read_checkpoint(self.out))

    def test_folders_that_nothing_can_be_offloaded_to(self):
        for folder, part in ((self.folder / "absent", "no such folder"), ("/dev/shm", "lies in memory itself")):
            refused = self.compress(self.model(), *self.calibrated("--offload-folder", folder))
            self.assert_refused(refused, 2, part)

    def test_same_command_gives_the_same_bytes_whatever_the_threads(self):
        model = self.model()
        folders = []
        for name, threads in (("a", 1), ("b", 1), ("c", 2), ("d", 4)):
            folders.append(self.folder / name)
            self.assert_succeeds(self.compress(model, *self.calibrated(), out=folders[-1], threads=threads))
        first, again, two_threads, four_threads = map(contents, folders)
        self.assertEqual(first, again)
        self.assertEqual(first, two_threads)
        self.assertEqual(first, four_threads)

    def test_saved_recipe_reproduces_the_run(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, *self.calibrated("--actorder", "group", "--dampening-frac", "0.02", "--ignore", "re:.*down_proj",
                                                                   "--ignore", "lm_head")))
        again = self.folder / "again"
        self.assert_succeeds(self.compress(model, "--recipe", self.out / "recipe.yaml", *self.calibrated()[:-2], out=again))
        self.assertEqual(contents(self.out), contents(again))

    def test_shards(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, *self.calibrated()))
        whole = read_checkpoint(self.out)
        shards = self.folder / "shards"
        self.assert_succeeds(self.compress(model, *self.calibrated("--max-shard-size", 10000 / 2**30), out=shards))
        self.assertGreater(len(list(shards.glob("*.safetensors"))), 2)
        self.assertEqual(read_checkpoint(shards), whole)
        index = read_json(shards / "model.safetensors.index.json")
        self.assertEqual(set(index["weight_map"]), set(whole))
        self.assertEqual(set(index["weight_map"].values()), {p.name for p in shards.glob("*.safetensors")})
        held = make_text(self.folder / "heldout.jsonl", seed=2, documents=3)
        values = [json.loads(run("eval", f, "-d", held, "--window", 32, "--json").stdout)["perplexity"] for f in (self.out, shards)]
        self.assertEqual(values[0], values[1])
        self.assert_succeeds(run("generate", shards, "-p", "a", "--max-new-tokens", 2))
        self.assert_succeeds(run("inspect", shards))

    def test_overwrite_replaces_the_folder(self):
        model = self.model()
        self.out.mkdir()
        (self.out / "old.txt").write_text("old")
        self.assert_succeeds(self.compress(model, *self.calibrated("--overwrite")))
        self.assertFalse((self.out / "old.txt").exists())
        self.assertTrue((self.out / "model.safetensors").exists())
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith(".")], [])

    def test_dry_run_leaves_nothing(self):
        result = self.assert_succeeds(self.compress(self.model(), *self.calibrated("--dry-run")))
        self.assertRegex(result.stdout, r"21 modules")
        self.assert_nothing_left()

    def test_json_is_one_document_on_stdout(self):
        model = self.model()
        dry = json.loads(self.assert_succeeds(self.compress(model, *self.calibrated("--dry-run", "--json"))).stdout)
        self.assertEqual(dry["plan"]["quantized_modules"], 21)
        report = json.loads(self.assert_succeeds(self.compress(model, *self.calibrated("--json"))).stdout)
        self.assertEqual({key: value for key, value in report.items() if key not in ("schema_version", "command")}, read_json(self.out / "swage_report.json"))

    def test_relative_paths_and_a_missing_parent(self):
        model = self.model()
        result = run("compress", model.name, "-o", "new/deep/out/", "--method", "rtn", "--scheme", "W8A8", cwd=self.folder)
        self.assert_succeeds(result)
        self.assertTrue((self.folder / "new/deep/out/config.json").exists())


class Recipes(EndToEnd):
    RECIPE = """
quant_stage:
  quant_modifiers:
    GPTQModifier:
      sequential_targets: ["LlamaDecoderLayer"]
      offload_hessians: false
      kv_cache_scheme: null
      block_size: 128
      dampening_frac: 0.01
      actorder: "static"
      config_groups:
        group_0:
          targets: ["re:.*self_attn.*_proj$"]
          weights: {num_bits: 4, type: "int", symmetric: true, strategy: "group", group_size: 16, observer: "minmax", dynamic: false,
                    block_structure: null}
          input_activations: null
        group_1:
          targets: ["re:.*(gate|up|down)_proj$"]
          weights: {num_bits: 8, type: "int", symmetric: true, strategy: "channel"}
      ignore: ["lm_head"]
"""

    def test_recipe_of_llm_compressor_with_two_schemes(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(self.RECIPE)
        self.assert_succeeds(self.compress(self.model(), "--recipe", recipe, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32))
        described = json.loads(run("inspect", self.out, "--json").stdout)
        schemes = {m["name"]: m["scheme"] for m in described["modules"]}
        self.assertEqual(schemes["model.layers.1.self_attn.q_proj"], "W4A16 g16")
        self.assertEqual(schemes["model.layers.1.mlp.up_proj"], "W8A16")
        groups = read_json(self.out / "config.json")["quantization_config"]["config_groups"]
        self.assertEqual(groups["group_1"]["targets"], ["re:.*(gate|up|down)_proj$"])
        self.assert_succeeds(run("eval", self.out, "-d", self.text, "--window", 32, "--max-windows", 2))

    def test_recipe_in_json(self):
        recipe = self.folder / "recipe.json"
        recipe.write_text(json.dumps({"quant_stage": {"quant_modifiers": {"QuantizationModifier": {"targets": "Linear", "scheme": "FP8_DYNAMIC", "ignore": ["lm_head"]}}}}))
        self.assert_succeeds(self.compress(self.model(), "--recipe", recipe))
        self.assertEqual(json.loads(run("inspect", self.out, "--json").stdout)["format"], "float-quantized")


if __name__ == "__main__":
    unittest.main()
