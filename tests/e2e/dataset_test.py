"""Calibration text by name, through the program: the registry, any data set of the hub, what comes with swage; and rows of many forms.

A text is known by its effect: two runs whose texts are equal write the same bytes.
"""
import gzip
import hashlib
import json
import pathlib
import re

from hub_support import Hub
from support import ROOT, read_json

DATA = ROOT / "tests" / "data" / "datasets"
TEXTS = json.loads((DATA / "texts.json").read_text())
CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"


class Rows(Hub):
    OF_TEXTS = {}  # texts and how much of them is used -> digest of the weights, tokens: each is calibrated on once

    def setUp(self):
        super().setUp()
        self.model_folder = self.model()
        self.runs = 0

    def template(self, text):
        config = read_json(self.model_folder / "tokenizer_config.json")
        config.pop("chat_template", None)
        if text:
            config["chat_template"] = text
        (self.model_folder / "tokenizer_config.json").write_text(json.dumps(config))

    def calibrate(self, data, *arguments, rows=4, length=16, **variables):
        """The run's result and, if it went well, the digest of its weights and its report."""
        self.runs += 1
        out = self.folder / f"run{self.runs}"
        result = self.swage("compress", self.model_folder, "-o", out, "-d", data, "--num-calibration-samples", rows, "--max-seq-length", length, "--group-size", 16,
                            "--threads", 1, "--no-check", *arguments, **variables)
        if result.returncode:
            return result, None, None
        return result, hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(), read_json(out / "swage_report.json")

    def lines(self, name, rows):
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def assert_same_text(self, data, texts, *arguments, rows=512, **how):
        """`data` calibrates as a file that holds these texts."""
        result, digest, report = self.calibrate(data, *arguments, rows=rows, **how)
        self.assert_succeeds(result)
        key = (*texts, rows, *sorted(how.items()))
        if key not in self.OF_TEXTS:
            expected, wanted, plain = self.calibrate(self.lines("texts.jsonl", [{"text": text} for text in texts]), rows=rows, **how)
            self.assert_succeeds(expected)
            self.OF_TEXTS[key] = wanted, plain["calibration"]["tokens"]
        self.assertEqual((digest, report["calibration"]["tokens"]), self.OF_TEXTS[key], f"{data}: another text than {texts}")
        return report


class Forms(Rows):
    def body(self, i):
        return [{"role": "user", "content": f"row {i} a small boat"}, {"role": "assistant", "content": "waits near its bank"}]

    def chat(self, i):
        return f"<|user|>row {i} a small boat</s><|assistant|>waits near its bank</s>"

    def test_tools_documents_and_settings_of_a_row_reach_the_template(self):
        self.template("{% if tools %}TOOLS {{ tools | tojson }}{% endif %}{% if documents %}DOCS {{ documents | tojson }}{% endif %}"
                      "{% if enable_thinking is defined and not enable_thinking %}NO{% endif %}{% if city is defined %}{{ city }}{% endif %}" + CHAT)
        tools = [{"type": "function", "function": {"name": "depth", "parameters": {"type": "object", "properties": {}}}}]
        documents = [{"title": "Tide", "text": "It comes."}]
        # A row's other columns, what the template makes of them.
        cases = (({"tools": tools}, "TOOLS " + json.dumps(tools)), ({"tools": json.dumps(tools)}, "TOOLS " + json.dumps(tools)),
                 ({"tools": [json.dumps(tools[0])]}, "TOOLS " + json.dumps(tools)), ({"tools": None}, ""), ({"tools": "null"}, ""), ({"tools": ""}, ""), ({}, ""),
                 ({"documents": documents}, "DOCS " + json.dumps(documents)), ({"documents": json.dumps(documents), "tools": []}, "DOCS " + json.dumps(documents)),
                 ({"chat_template_kwargs": {"enable_thinking": False}}, "NO"), ({"chat_template_kwargs": '{"enable_thinking": false}'}, "NO"),
                 ({"city": "Lund", "country": "Sweden"}, "Lund"))
        for columns, start in cases:
            with self.subTest(columns=columns):
                rows = self.lines("rows.jsonl", [{"messages": self.body(i), **columns} for i in range(6)])
                self.assert_same_text(rows, [start + self.chat(i) for i in range(6)])

    def test_conversations_and_pairs_are_chats_where_the_model_has_a_template(self):
        self.template(CHAT)
        user, answer = (lambda i: f"row {i} a small boat"), "waits near its bank"
        cases = (lambda i: {"conversations": [{"from": "human", "value": user(i)}, {"from": "gpt", "value": answer}]},
                 lambda i: {"conversations": self.body(i)},
                 lambda i: {"conversation": [{"from": "human", "value": user(i), "weight": None}, {"from": "gpt", "value": answer, "weight": 1}]},
                 lambda i: {"messages": [{"from": "user", "value": user(i)}, {"from": "assistant", "value": answer}]},
                 lambda i: {"messages": json.dumps(self.body(i))},
                 lambda i: {"prompt": user(i), "response": answer},
                 lambda i: {"prompt": self.body(i)[:1], "completion": self.body(i)[1:]},
                 lambda i: {"instruction": user(i), "input": "", "output": answer},
                 lambda i: {"instruction": user(i), "context": None, "response": answer},
                 lambda i: {"question": user(i), "answer": answer},
                 lambda i: {"query": user(i), "response": answer})
        for make in cases:
            with self.subTest(row=make(0)):
                self.assert_same_text(self.lines("rows.jsonl", [make(i) for i in range(6)]), [self.chat(i) for i in range(6)])
        system = self.lines("rows.jsonl", [{"system_prompt": "Be kind.", "question": user(i), "response": answer} for i in range(6)])
        self.assert_same_text(system, ["<|system|>Be kind.</s>" + self.chat(i) for i in range(6)])
        more = self.lines("rows.jsonl", [{"instruction": user(i), "input": "more", "output": answer} for i in range(6)])
        self.assert_same_text(more, [self.chat(i).replace("small boat", "small boat\n\nmore") for i in range(6)])

    def test_pairs_are_plain_text_where_it_has_none(self):
        self.template(None)
        ask, tell = "what waits near the bank", "a small boat waits there"
        self.assert_same_text(self.lines("rows.jsonl", [{"prompt": ask, "response": tell}] * 6), [f"{ask}\n\n{tell}"] * 6)
        self.assert_same_text(self.lines("rows.jsonl", [{"prompt": ask, "completion": " " + tell}] * 6), [f"{ask} {tell}"] * 6)
        self.assert_same_text(self.lines("rows.jsonl", [{"question": ask, "answer": tell}] * 6), [f"Question: {ask}\nAnswer: {tell}"] * 6)
        result, _, _ = self.calibrate(self.lines("rows.jsonl", [{"conversations": [{"from": "human", "value": ask}]}] * 6))
        self.assertEqual(result.returncode, 2)
        self.assertIn("no chat template", result.stderr)

    def test_fields_that_are_not_read_do_not_matter(self):
        rows = [f'{{"id": 18446744073709551615, "score": NaN, "id": 1, "big": {"9" * 400}, "text": "row {i} a small boat waits near its bank"}}' for i in range(8)]
        (self.folder / "odd.jsonl").write_text("\n".join(rows))
        self.assert_same_text(self.folder / "odd.jsonl", [f"row {i} a small boat waits near its bank" for i in range(8)])

    def test_rows_that_fit_no_form_say_what_is_wrong(self):
        self.template(CHAT)
        for rows, parts in (([{"body": "x"}], ("columns found: \"body\"", "--text-column")), ([{"prompt": "x", "response": None}], ("line 1", "\"response\" must be a string")),
                            ([{"messages": self.body(0), "tools": "not json"}], ("line 1", "\"tools\"")), ([{"messages": self.body(0), "tools": 5}], ("\"tools\" must be a list",)),
                            ([{"messages": self.body(0), "chat_template_kwargs": [1]}], ("\"chat_template_kwargs\" must be an object",)),
                            ([{"conversations": [{"from": "human"}]}], ("line 1: each of \"conversations\" must be an object",)),
                            ([{"prompt": self.body(0), "completion": "x"}], ("is a list of messages, but \"completion\" is none",)),
                            ([{"prompt": "x", "response": "y"}, {"prompt": "x"}], ("line 2: no \"response\"; found: \"prompt\"",))):
            with self.subTest(rows=rows):
                result, _, _ = self.calibrate(self.lines("rows.jsonl", rows))
                self.assertIn(result.returncode, (1, 2))
                for part in parts:
                    self.assertIn(part, result.stderr)


class TooLittle(Rows):
    def test_what_calibration_had_is_said_everywhere(self):
        text = self.lines("few.jsonl", [{"text": f"row {i} a small boat waits near its bank while grey birds turn"} for i in range(5)])
        result, _, report = self.calibrate(text, rows=512, length=16)
        calibration = report["calibration"]
        self.assertEqual(calibration["rows_wanted"], 512)
        self.assertLess(calibration["rows"], 512)
        self.assertEqual(calibration["tokens"], 16 * calibration["rows"])
        self.assertEqual(calibration["documents_used"], 5)
        digest = hashlib.sha256(text.read_bytes()).hexdigest()
        self.assertEqual(calibration["data"], {"name": str(text), "form": "text", "documents": 5, "files": [{"name": "few.jsonl", "sha256": digest}]})
        self.assertRegex(result.stdout, rf"calibrated +on {calibration['rows']} rows of 16 tokens, 5 documents of \S+few.jsonl \(512 rows asked for\)")
        self.assertRegex(result.stderr, r"calibration: \d+ rows of 16 tokens \(\d+ tokens\) from 5 documents of few.jsonl; 512 rows were asked for, the text holds no more")
        page = (self.folder / "run1" / "swage_report.html").read_text()
        self.assertIn(f"{calibration['rows']} of 512 rows", page)
        self.assertIn("few.jsonl", page)
        self.assertIn(digest[:12], page)

    def test_fewer_tokens_than_the_widest_input_is_a_warning_that_says_what_to_do(self):
        # widest input: 96 columns, down_proj of llama32_tied or more
        config = read_json(self.model_folder / "config.json")
        widest = max(config["intermediate_size"], config["hidden_size"])
        result, _, report = self.calibrate(self.text, rows=1, length=16)
        rows = -(-widest // 16)
        self.assertTrue(any(f"16 tokens for inputs of up to {widest} columns" in w and f"--num-calibration-samples {rows}" in w for w in report["warnings"]), report["warnings"])
        self.assertIn("warning: little calibration: 16 tokens", result.stderr)
        few, _, report = self.calibrate(self.lines("few.jsonl", [{"text": "a small boat waits near its bank while birds turn over fields"}]), rows=512, length=16)
        self.assertTrue(any("Give more text" in w for w in report["warnings"]), report["warnings"])
        _, _, report = self.calibrate(self.text, rows=rows, length=16)
        self.assertEqual([w for w in report["warnings"] if "little calibration" in w], [])


class Registry(Rows):
    """Small files with the columns of the real sets, on the hub's own names."""
    REPOSITORIES = {
        "open_platypus": ("garage-bAInd/Open-Platypus", "data/train-00000-of-00001-4fe2df04669d1669.parquet"),
        "gsm8k": ("openai/gsm8k", "main/train-00000-of-00001.parquet"),
        "cnn_dailymail": ("cnn_dailymail", "3.0.0/train-00000-of-00003.parquet"),
        "evolcodealpaca": ("theblackcat102/evol-codealpaca-v1", "train.parquet"),
        "ultrachat_200k": ("HuggingFaceH4/ultrachat_200k", "data/train_sft-00000-of-00003-a3ecf92756993583.parquet"),
        "perfectblend": ("mlabonne/open-perfectblend", "data/train-00000-of-00004.parquet"),
        "wikitext": ("Salesforce/wikitext", "wikitext-2-raw-v1/train-00000-of-00001.parquet"),
        "c4": ("allenai/c4", "en/c4-train.00000-of-01024.json.gz"),
    }

    def setUp(self):
        super().setUp()
        for name, (repository, file) in self.REPOSITORIES.items():
            data = (DATA / f"{name}.parquet").read_bytes()
            if name == "c4":
                rows = [{"text": text, "timestamp": "2019", "url": "u"} for text in TEXTS["c4"]]
                data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)
            self.hub.add(repository, {file: data, "README.md": "---\nlicense: mit\n---\n", ".gitattributes": "", "dataset_infos.json": "{}"}, kind="datasets")

    def test_texts_are_those_of_llm_compressor(self):
        config = read_json(ROOT / "tests" / "data" / "data" / "tiny_bpe" / "tokenizer_config.json")
        self.template(config["chat_template"])
        for name, spelled in (("open_platypus", "open-platypus"), ("gsm8k", "gsm8k"), ("cnn_dailymail", "cnn_dailymail"), ("evolcodealpaca", "EvolCodeAlpaca"),
                              ("ultrachat_200k", "ultrachat-200k"), ("ultrachat_200k", "ultrachat"), ("perfectblend", "perfectblend"), ("wikitext", "wikitext"),
                              ("c4", "c4")):
            with self.subTest(spelled):
                report = self.assert_same_text(spelled, TEXTS[name], length=8)
                self.assertRegex(report["calibration"]["data"]["commit"], "^[0-9a-f]{40}$")

    def test_rows_of_optimums_sets_are_drawn(self):
        # More rows than their text holds from end to end; which ones: data_test, DrawnWindows.
        for name, texts in (("wikitext2", "wikitext2"), ("c4-new", "c4")):
            with self.subTest(name):
                drawn = [self.calibrate(name, "--seed", seed, rows=40, length=8) for seed in (0, 0, 1)]
                for result, _, report in drawn:
                    self.assert_succeeds(result)
                    self.assertEqual(report["calibration"]["rows"], 40)
                self.assertEqual(drawn[0][1], drawn[1][1])
                self.assertNotEqual(drawn[0][1], drawn[2][1])
                plain = self.lines("texts.jsonl", [{"text": text} for text in TEXTS[texts]])
                self.assertEqual(*(self.calibrate(data, "--no-pack", length=8)[1] for data in (name, plain)))

    def test_a_model_without_a_template_gets_llm_compressors(self):
        self.template(None)
        for name in ("ultrachat_200k", "perfectblend"):
            with self.subTest(name):
                self.assert_same_text(name, TEXTS[name + " without template"], length=8)

    def test_what_is_in_the_cache_is_not_asked_for_again(self):
        self.assert_succeeds(self.calibrate("open_platypus", length=8)[0])
        before = len(self.hub.requests)
        self.assert_succeeds(self.calibrate("open_platypus", length=8)[0])
        self.assert_succeeds(self.calibrate("open_platypus", length=8, HF_HUB_OFFLINE="1")[0])
        self.assertEqual(len(self.hub.requests), before)
        result, _, _ = self.calibrate("gsm8k", length=8, HF_HUB_OFFLINE="1")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "gsm8k.*HF_HUB_OFFLINE is set")

    def test_slices_of_a_file_wherever_it_lies(self):
        rows = self.folder / "rows.jsonl"
        texts = [f"row {i} a small boat waits near its bank while grey birds turn over wide fields" for i in range(12)]
        rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        for part, kept in (("[:4]", texts[:4]), ("[8:]", texts[8:]), ("[-2:]", texts[-2:]), ("[50%:]", texts[6:]), ("[:99]", texts)):
            with self.subTest(part):
                self.assert_same_text(f"{rows}{part}", kept)
        result, _, _ = self.calibrate(f"{rows}[1]")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertRegex(result.stderr, r"a slice is written \[FROM:TO\]")

    def test_names_that_are_refused_say_why(self):
        for name, code, part in (("ptb", 2, "deprecated"), ("ptb-new", 2, "deprecated"), ("flickr30k", 2, "images or sound"), ("peoples_speech", 2, "images or sound"),
                                 ("custom", 2, "give the file itself"), ("open_platypos", 2, "did you mean open_platypus"), ("nosuch", 2, "no such data set.*open_platypus"),
                                 ("nosuch.jsonl", 1, "no such data set"), ("c4:train[5]", 2, r"\[FROM:TO\]"), ("c4[:x]", 2, "bounds no slice"), ("builtin:train", 2, "no splits")):
            with self.subTest(name):
                result, _, _ = self.calibrate(name)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertRegex(result.stderr, part)

    def test_the_text_that_comes_with_swage(self):
        example = ROOT / "examples" / "text"
        self.assertEqual(self.calibrate("builtin")[1], self.calibrate(example / "calibration.jsonl")[1])
        evaluate = ("--window", 32, "--max-windows", 4, "--threads", 1, "--json")
        results = [json.loads(self.assert_succeeds(self.swage("eval", self.model_folder, "-d", data, *evaluate)).stdout)["perplexity"] for data in ("builtin", example / "heldout.jsonl")]
        self.assertEqual(*results)


class AnySet(Rows):
    def rows(self, begin, end, column="text"):
        return "".join(json.dumps({column: text, "n": i}) + "\n" for i, text in enumerate(self.texts()) if begin <= i < end)

    def texts(self, begin=0, end=20):
        return [f"row {i} a small boat waits near its bank while grey birds turn over wide fields" for i in range(begin, end)]

    def test_splits_configurations_and_slices(self):
        self.hub.add("org/set", {"en/train-00000-of-00002.jsonl": self.rows(0, 10), "en/train-00001-of-00002.jsonl": self.rows(10, 20), "en/test-00000-of-00001.jsonl": self.rows(3, 8),
                                 "de/train-00000-of-00001.jsonl": self.rows(15, 20)}, kind="datasets")
        for name, texts in (("org/set:en:train", self.texts()), ("org/set:en", self.texts()), ("org/set:en:test", self.texts(3, 8)), ("org/set:de:train", self.texts(15, 20)),
                            ("org/set:en:train[:4]", self.texts(0, 4)), ("org/set:en:train[8:12]", self.texts(8, 12)), ("org/set:en:train[-3:]", self.texts(17, 20)),
                            ("org/set:en:train[50%:60%]", self.texts(10, 12)), ("org/set:en[15:100]", self.texts(15, 20))):
            with self.subTest(name):
                self.assert_same_text(name, texts)
        for name, part in (("org/set", "several configurations.*\"de\", \"en\""), ("org/set:fr:train", "no configuration \"fr\"; there are \"de\", \"en\""),
                           ("org/set:en:dev", "no split \"dev\".*\"test\", \"train\""), ("org/set:en:train[20:]", "the data set is empty from that row on"),
                           ("org/set:en:train[5:5]", "the slice holds no rows"), ("org/set:en:train[-5%:0%]", "the slice holds no rows"), ("org/absent", "no such repository")):
            with self.subTest(name):
                result, _, _ = self.calibrate(name)
                self.assertIn(result.returncode, (1, 2))
                self.assertRegex(result.stderr, part)

    def test_only_the_files_that_are_needed_come(self):
        # Files of other contents: those of the same are one blob in the cache, which comes once.
        self.hub.add("org/set", {f"data/train-0000{i}-of-00003.jsonl": self.rows(i, 20) * 400 for i in range(3)}, kind="datasets")
        self.assert_succeeds(self.calibrate("org/set")[0])
        self.assertEqual(len(self.hub.asked("GET", "resolve-cache.*train-")), 1)
        self.assert_succeeds(self.calibrate("org/set:train[:9000]")[0])
        self.assertEqual(len(self.hub.asked("GET", "resolve-cache.*train-")), 2)

    def test_a_card_says_which_files_are_which(self):
        card = ("---\nconfigs:\n- config_name: small\n  data_files:\n  - split: train\n    path: raw/[ab]*.jsonl\n  - split: dev\n    path: [\"raw/c.jsonl\"]\n"
                "- config_name: large\n  default: true\n  data_files: \"**/*.jsonl\"\n---\nText.\n")
        self.hub.add("org/carded", {"README.md": card, "raw/a1.jsonl": self.rows(0, 5), "raw/b.jsonl": self.rows(5, 10), "raw/c.jsonl": self.rows(10, 15)}, kind="datasets")
        for name, texts in (("org/carded", self.texts(0, 15)), ("org/carded:small:train", self.texts(0, 10)), ("org/carded:small:dev", self.texts(10, 15))):
            with self.subTest(name):
                self.assert_same_text(name, texts)

    def test_sets_in_other_formats_come_from_the_branch_that_the_hub_converts(self):
        self.hub.add("org/csv", {"train.csv": "text\nx\n"}, kind="datasets")
        self.hub.add("org/csv", {"default/train/0000.parquet": (DATA / "wikitext.parquet").read_bytes()}, kind="datasets", branch="refs/convert/parquet")
        self.assert_same_text("org/csv", TEXTS["wikitext"], length=8)
        self.hub.add("org/none", {"train.csv": "text\nx\n"}, kind="datasets")
        result, _, _ = self.calibrate("org/none")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "org/none")

    def test_revisions_and_columns(self):
        self.hub.add("org/set", {"train.jsonl": self.rows(0, 10)}, kind="datasets")
        commit = self.hub.add("org/set", {"train.jsonl": self.rows(10, 20, "body")}, kind="datasets", branch="v2")
        for revision in ("v2", commit):
            report = self.assert_same_text(f"org/set@{revision}", self.texts(10, 20), "--text-column", "body")
            self.assertEqual(report["calibration"]["data"]["commit"], commit)
        self.assert_same_text("org/set", self.texts(0, 10))

    def test_names_from_the_server_stay_inside_the_cache(self):
        self.hub.add("org/evil", {"../../../train.jsonl": self.rows(0, 9), "data/train.jsonl": self.rows(0, 10)}, kind="datasets")
        self.assert_same_text("org/evil", self.texts(0, 10))
        self.assertFalse([path for path in self.folder.rglob("train.jsonl") if "datasets--org--evil" not in str(path)])
