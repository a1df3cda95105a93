"""generate and chat: prompts from anywhere, many at once, sampling, memory; what a user types in a conversation."""
import json
import subprocess
import unittest

from support import PROGRAM, EndToEnd, environment, run


def typed(*arguments, text):
    """Runs the program with `text` on stdin."""
    return subprocess.run([PROGRAM, *map(str, arguments), "--threads", "1"], input=text, capture_output=True, text=True, env=environment(), timeout=120)


class Generate(EndToEnd):
    def answers(self, *arguments):
        return json.loads(self.assert_succeeds(run("generate", self.model(), *arguments, "--json")).stdout)

    def test_prompts_come_from_anywhere(self):
        model = self.model()
        expected = self.answers("-p", "the river", "--max-new-tokens", 6)["text"]
        file = self.folder / "prompt.txt"
        file.write_text("the river")
        self.assertEqual(self.answers("--prompt-file", file, "--max-new-tokens", 6)["text"], expected)
        piped = typed("generate", model, "--prompt-file", "-", "--max-new-tokens", 6, text="the river")
        self.assertEqual(self.assert_succeeds(piped).stdout, expected + "\n")
        self.assert_refused(run("generate", model, "-p", "a", "--prompt-file", file), 2, "one place")
        self.assert_refused(run("generate", model, "--prompt-file", self.folder / "absent"), 1, "absent")

    def test_many_prompts_are_answered_as_each_alone(self):
        prompts = ["the river", "a stone and the river", "the river", "wind"]
        lines = self.folder / "prompts.jsonl"
        lines.write_text("".join(json.dumps(p if i % 2 else {"prompt": p}) + "\n" for i, p in enumerate(prompts)) + "\n")
        how = ("--max-new-tokens", 8, "--temperature", 0.9, "--top-k", 20, "--seed", 5)
        alone = [self.answers("-p", prompt, *how)["text"] for prompt in prompts]
        out = self.assert_succeeds(run("generate", self.model(), "--prompts", lines, *how)).stdout
        found = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([one["prompt"] for one in found], [0, 1, 2, 3])
        self.assertEqual([one["text"] for one in found], alone)
        lines.write_text("\n")
        self.assert_refused(run("generate", self.model(), "--prompts", lines), 2, "no prompt")
        lines.write_text('{"text": "a"}\n')
        self.assert_refused(run("generate", self.model(), "--prompts", lines), 2, "line 1", "prompt")

    def test_several_answers_and_their_probabilities(self):
        how = ("-p", "the river", "--max-new-tokens", 5, "--temperature", 1.2)
        document = self.answers(*how, "-n", 3, "--logprobs", 2)
        choices = document["results"][0]["choices"]
        self.assertEqual(len(choices), 3)
        self.assertEqual(choices[0]["text"], self.answers(*how)["text"])
        for choice in choices:
            for token in choice["logprobs"]:
                self.assertLessEqual(token["logprob"], 0)
                self.assertEqual(len(token["top"]), 2)
                self.assertGreaterEqual(token["top"][0]["logprob"], token["top"][1]["logprob"])
        best = self.answers(*how, "--best-of", 3)["results"][0]["choices"]
        self.assertEqual(len(best), 1)
        self.assertIn(best[0]["text"], [choice["text"] for choice in choices])
        self.assert_refused(run("generate", self.model(), *how, "-n", 3, "--best-of", 2), 2, "best_of 2")

    def test_guesses_change_no_text(self):
        how = ("-p", "the river the river the", "--raw", "--max-new-tokens", 60, "--temperature", 0.3)
        plain, guessed = self.answers(*how), self.answers(*how, "--draft-tokens", 6)
        self.assertEqual(guessed["text"], plain["text"])
        self.assertEqual(plain["engine"]["drafted_tokens"], 0)
        self.assertGreaterEqual(guessed["engine"]["drafted_tokens"], guessed["engine"]["accepted_tokens"])
        self.assertEqual(guessed["engine"]["steps"] + guessed["engine"]["accepted_tokens"], plain["engine"]["steps"])
        self.assert_refused(run("generate", self.model(), "-p", "a", "--draft-tokens", 33), 2, "draft_tokens 33")

    def test_prompts_are_scored(self):
        (result,) = self.answers("-p", "the river", "--raw", "--max-new-tokens", 2, "--prompt-logprobs", "--logprobs", 1)["results"]
        scored = result["prompt_logprobs"]
        self.assertEqual(len(scored), result["prompt_tokens"])
        self.assertEqual("".join(token["token"] for token in scored), "the river")
        self.assertEqual((scored[0]["logprob"], "top" in scored[0]), (0, False))
        for token in scored[1:]:
            self.assertLess(token["logprob"], 0)
            self.assertLessEqual(token["logprob"], token["top"][0]["logprob"])

    def test_a_stop_string_ends_the_text_before_it(self):
        text = self.answers("-p", "the river", "--max-new-tokens", 12, "--raw")["text"]
        stop = text[len(text) // 2:len(text) // 2 + 3]
        document = self.answers("-p", "the river", "--max-new-tokens", 12, "--raw", "--stop", stop)
        self.assertEqual(document["text"], text[:text.index(stop)])
        self.assertEqual((document["stopped"], document["results"][0]["choices"][0]["stop"]), ("stop string", stop))

    def test_memory_is_planned_and_bounded(self):
        plan = self.answers("-p", "the river", "--max-new-tokens", 2)["plan"]
        self.assertEqual(plan["context"], 128)
        self.assertGreater(plan["peak_bytes"], plan["weight_bytes"] + plan["cache_bytes"])
        self.assert_refused(run("generate", self.model(), "-p", "a", "--max-memory", "1MiB"), 2, "more than the 1 MiB")
        small = self.answers("-p", "the river", "--max-new-tokens", 200, "--max-context", 24, "--raw")
        self.assertLess(small["tokens"], 24)
        self.assertEqual((small["stopped"], small["plan"]["context"]), ("length", 24))
        self.assert_refused(run("generate", self.model(), "-p", "a", "--max-context", 500), 2, "a context of 500")
        for kind in ("f16", "bf16"):
            half = self.answers("-p", "the river", "--max-new-tokens", 2, "--kv-cache-type", kind)["plan"]
            self.assertEqual(2 * half["cache_bytes"], plan["cache_bytes"])
        for kind in ("int8", "fp8"):
            codes = self.answers("-p", "the river", "--max-new-tokens", 8, "--kv-cache-dtype", kind)
            self.assertLess(codes["plan"]["cache_bytes"], plan["cache_bytes"] / 2)
            self.assertEqual(codes["tokens"], 8)

    def test_an_answer_has_the_form_that_is_asked_for(self):
        schema = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
                  "required": ["colour", "count"], "additionalProperties": False}
        file = self.folder / "schema.json"
        file.write_text(json.dumps(schema))
        for given in (file, json.dumps(schema)):
            document = self.answers("-p", "the river", "--raw", "--max-new-tokens", 100, "--json-schema", given, "-n", 3, "--temperature", 1)
            for choice in document["results"][0]["choices"]:
                self.assertEqual(choice["stopped"], "end token")
                value = json.loads(choice["text"])
                self.assertIn(value["colour"], ("red", "green"))
                self.assertIn(value["count"], range(100))
        self.assertRegex(self.answers("-p", "the river", "--regex", "(on|off){2}")["text"], "^(on|off){2}$")
        grammar = self.folder / "grammar.txt"
        for text in ('root ::= "a" [0-9]{2} end\nend ::= "!" | "?"\n', 'start: "a" /[0-9]{2}/ ("!" | "?")\n'):
            grammar.write_text(text)
            self.assertRegex(self.answers("-p", "the river", "--grammar", grammar)["text"], r"^a[0-9]{2}[!?]$")
        self.assertEqual(self.answers("-p", "the river", "--json-object", "--max-new-tokens", 5)["text"][0], "{")
        how = ("-p", "a")
        self.assert_refused(run("generate", self.model(), *how, "--regex", "("), 2, "regex: ")
        self.assert_refused(run("generate", self.model(), *how, "--json-schema", '{"type": "nothing"}'), 2, "json_schema: ")
        self.assert_refused(run("generate", self.model(), *how, "--json-schema", "absent.json"), 1, "absent.json")
        self.assert_refused(run("generate", self.model(), *how, "--regex", "a", "--json-object"), 2, "excludes")

    def test_options_are_checked_by_name(self):
        for option, value in (("--top-k", -1), ("--min-p", 2), ("--typical-p", 0), ("--repetition-penalty", 0), ("--frequency-penalty", 3), ("--n", 0), ("--kv-cache-type", "f8")):
            self.assert_refused(run("generate", self.model(), "-p", "a", option, value), 2, option[2:])


class Chat(EndToEnd):
    def test_a_conversation_goes_on(self):
        lines = ["the river", "/set temperature 1.3", "/again", "/show", "wind and \\", "stone", "/nonsense", "/set wrong 1", "/new", "/again", "/exit", "never read"]
        result = self.assert_succeeds(typed("chat", self.model(), "--max-new-tokens", 6, text="\n".join(lines) + "\n"))
        first = json.loads(self.assert_succeeds(run("generate", self.model(), "-p", "the river", "--max-new-tokens", 6, "--json")).stdout)["text"]
        self.assertTrue(result.stdout.startswith(first + "\n"), result.stdout)
        self.assertIn("user: the river\nassistant: ", result.stdout)
        self.assertIn("/nonsense: no such command", result.stdout)
        self.assertIn("/set wrong: no such setting", result.stdout)
        self.assertIn("nothing was asked yet", result.stdout)
        self.assertNotIn("never", result.stdout)

    def test_ends_with_its_input_and_refuses_json(self):
        self.assertEqual(self.assert_succeeds(typed("chat", self.model(), text="")).stdout, "")
        refused = run("chat", self.model(), "--json")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--json", refused.stderr)
        long = typed("chat", self.model(), text="river " * 200 + "\nthe river\n")
        self.assertIn("the model takes fewer than 128", self.assert_succeeds(long).stdout)


if __name__ == "__main__":
    unittest.main()
