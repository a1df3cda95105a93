"""JSON as Python's json module writes it: what a field that is not used holds does not matter, what is used is checked by name, what is
written back keeps its value and its spelling."""
import json
import unittest

from support import EndToEnd, contents, make_llama, make_text, read_json, run

NO_LIMIT = "1000000000000000019884624838656"  # int(1e30), as tokenizer_config.json of Llama 2 and TinyLlama has it
ODD = f'"x_big": {NO_LIMIT}, "x_least": -{NO_LIMIT}, "x_nan": NaN, "x_inf": [Infinity, -Infinity, 1e999], "x_half": "\\ud83d", "x_twice": 1, "x_twice": {{"a": 1, "a": 2}}'


def add_text(path, text):
    """Puts members into a JSON object as they are spelled."""
    old = path.read_text().strip()
    assert old.startswith("{")
    path.write_text("{" + text + ("" if old[1:].strip().startswith("}") else ", ") + old[1:])


class JsonNumbers(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_llama(self.folder / "m")

    def tearDown(self):
        for name in ("tokenizer_config.json", "generation_config.json", "tokenizer.json", "special_tokens_map.json"):
            copied = self.out / name
            if copied.exists():
                self.assertEqual(copied.read_bytes(), (self.source / name).read_bytes(), f"{name} is not copied byte for byte")

    def test_files_that_are_read_may_hold_them(self):
        self.assert_succeeds(self.compress(self.source, *self.calibrated("--no-check"), out=self.folder / "plain"))
        wanted = contents(self.folder / "plain")["model.safetensors"]
        for name in ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "config.json"):
            path = self.source / name
            if not path.exists():
                path.write_text("{}")
            add_text(path, ODD)
        add_text(self.source / "tokenizer_config.json", f'"model_max_length": {NO_LIMIT}')  # comes again later on: the last counts
        self.assert_succeeds(self.compress(self.source, *self.calibrated("--no-check")))
        self.assertEqual(contents(self.out)["model.safetensors"], wanted)
        for command in (("inspect", self.out), ("eval", self.out, "-d", self.text, "--window", 32), ("generate", self.out, "-p", "the", "--max-new-tokens", 2),
                        ("estimate", self.source, "--max-seq-length", 64, "--rates", "gemm=1G,copy=1G,disk=1G"), ("convert", self.out, self.folder / "dense", "--to", "dense")):
            self.assert_succeeds(run(*command))
        self.assertIn(f'"x_big": {NO_LIMIT},', (self.folder / "dense" / "config.json").read_text())

    def test_rows_may_hold_them(self):
        rows = [json.loads(line)["text"] for line in self.text.read_text().splitlines()]
        odd = self.folder / "odd.jsonl"
        odd.write_text("".join(f'{{"id": 18446744073709551615, "text": "no", "score": NaN, {ODD}, "text": {json.dumps(row)}}}\n' for row in rows))
        for number, data in enumerate((self.text, odd)):
            arguments = list(map(str, self.calibrated("--no-check")))
            arguments[arguments.index(str(self.text))] = str(data)
            self.assert_succeeds(self.compress(self.source, *arguments, out=self.folder / f"out{number}"))
        self.assertEqual(contents(self.folder / "out0")["model.safetensors"], contents(self.folder / "out1")["model.safetensors"])

    def test_what_is_written_back_keeps_value_and_spelling(self):
        spelled = {"rope_theta": "100000.0", "rms_norm_eps": "1e-05", "initializer_range": "0.02", "a": NO_LIMIT, "b": "1E5", "c": "-Infinity", "d": "NaN",
                   "e": "1.50", "f": "123456789.0", "g": "1e+22", "h": "-0.0"}
        config = read_json(self.source / "config.json")
        for name in spelled:
            config.pop(name, None)
        (self.source / "config.json").write_text(json.dumps(config))
        add_text(self.source / "config.json", ", ".join(f'"{name}": {text}' for name, text in spelled.items()))
        quantized, dense, free = self.out, self.folder / "dense", self.folder / "free"
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--group-size", 16))
        self.assert_succeeds(run("convert", quantized, dense, "--to", "dense"))
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--group-size", 16, "--model-free", out=free))
        for folder in (quantized, dense, free):
            text = (folder / "config.json").read_text()
            for name, number in spelled.items():
                self.assertRegex(text, rf'"{name}": {number.replace("+", "[+]").replace(".", "[.]")}[,\n]', folder)
            names = [name for name in json.loads(text) if name not in ("quantization_config", "tie_word_embeddings")]
            self.assertEqual(names, [name for name in read_json(self.source / "config.json") if name != "tie_word_embeddings"])

    def test_strings_and_nested_values_keep_theirs_too(self):
        spelled = {"x_cafe": '"caf\\u00e9 \\/ \\u0041"', "x_zero": "-0", "x_key\\u0031": "[ 1,2 ]", "x_deep": '{"a": "\\/", "b": [-0, "\\ud83d"]}'}
        add_text(self.source / "config.json", ", ".join(f'"{name}": {text}' for name, text in spelled.items()))
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--group-size", 16))
        self.assert_succeeds(run("convert", self.out, self.folder / "dense", "--to", "dense"))
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--group-size", 16, "--model-free", out=self.folder / "free"))
        for folder in (self.out, self.folder / "dense", self.folder / "free"):
            text = (folder / "config.json").read_text()
            for name, value in spelled.items():
                self.assertIn(f'  "{name}": {value}', text, folder)
            read = json.loads(text)
            read.pop("quantization_config", None)
            self.assertEqual({**read, "tie_word_embeddings": 0}, {**read_json(self.source / "config.json"), "tie_word_embeddings": 0})

    def test_fields_that_are_used_are_checked_by_name(self):
        whole = (self.source / "config.json").read_text()
        for name, text, said in (("hidden_size", NO_LIMIT, f"must be a whole number from 1 to [0-9]+, not {NO_LIMIT}"), ("num_hidden_layers", "NaN", "(found|not) NaN"),
                                 ("rope_theta", "Infinity", "(found|not) Infinity"), ("rms_norm_eps", "1e999", "(found|not) 1e999"), ("intermediate_size", "256.0", "expected an integer|must be a whole number")):
            config = json.loads(whole)
            config.pop(name, None)
            (self.source / "config.json").write_text(json.dumps(config))
            add_text(self.source / "config.json", f'"{name}": {text}')
            self.assert_refused(self.compress(self.source, "--method", "rtn", "--group-size", 16), 1, f'"?{name}"?', said)
        (self.source / "config.json").write_text(whole)
        add_text(self.source / "config.json", '"hidden_size": 7')  # the last one counts, which is right
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--group-size", 16))


if __name__ == "__main__":
    unittest.main()
