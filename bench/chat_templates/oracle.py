#!/usr/bin/env python3
"""What transformers makes of chat templates: stored results that swage's own Jinja2 is compared with.

    oracle.py expressions tests/data/data/jinja        # expressions.jsonl -> expressions_oracle.jsonl
    oracle.py templates FOLDER OUT.jsonl [--texts]     # every FOLDER/*.jinja x 6 conversations x generation prompt off, on

Needs transformers (5.23 or newer) and jinja2 3.1.6 or newer. The results of a template are digests (the first 16 hex digits of
SHA-256) or whole texts; null or "error" where it does not render. To count all templates of llama.cpp: README.md beside this file.
"""
import argparse
import copy
import datetime
import hashlib
import json
import pathlib

from transformers.utils import chat_template_utils

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Current weather of a city. <b>Fast</b> & 'exact'.",
        "parameters": {"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "Name, as in \"São Paulo\""},
            "days": {"type": "integer", "description": "How many", "default": 3},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}}}},
    {"type": "function", "function": {
        "name": "add", "description": "Adds numbers",
        "parameters": {"type": "object", "required": ["values"], "properties": {
            "values": {"type": "array", "items": {"type": "number"}}, "exact": {"type": "boolean"}}}}},
]


def call(name, arguments, ident):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = {
    "user": ([{"role": "user", "content": "  Where does the small boat wait?\n"}], None),
    "system": ([{"role": "system", "content": "You are brief."},
                {"role": "user", "content": "Say \"hi\" — in <b>bold</b>."}], None),
    "turns": ([{"role": "system", "content": "You are brief."}, {"role": "user", "content": "One?"},
               {"role": "assistant", "content": "<think>\nhm\n</think>\n\nUn. "}, {"role": "user", "content": "Two?"},
               {"role": "assistant", "content": "Deux.\n"}, {"role": "user", "content": "Trois?\r\nYes."}], None),
    "tools": ([{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather in Bern?"}], TOOLS),
    "calls": ([{"role": "user", "content": "Weather in Bern, and 1 + 2.5?"},
               {"role": "assistant", "content": "Let me look.", "tool_calls": [
                   call("get_weather", {"city": "Bern", "days": 2}, "abcdef123")]},
               {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"temp\": 21.5}"},
               {"role": "assistant", "content": "It is 21.5."}, {"role": "user", "content": "Thanks."}], TOOLS),
    "null": ([{"role": "user", "content": "Add 1 and 2."},
              {"role": "assistant", "content": None, "reasoning_content": "Use add.", "tool_calls": [
                  call("add", {"values": [1, 2.5, 1e16], "exact": True, "note": None}, "123456789")]},
              {"role": "tool", "name": "add", "tool_call_id": "123456789", "content": "3"}], TOOLS),
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class FixedDay(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


chat_template_utils.datetime = FixedDay


def without_nulls(messages):
    return [{k: v for k, v in message.items() if v is not None} for message in messages]


def result(render):
    try:
        text = render()
        text.encode()
        return {"text": text}
    except Exception as error:  # whatever it is, the template does not render
        return {"error": f"{type(error).__name__}: {error}"[:160]}


def render_conversation(source, messages, tools, prompt):
    texts, _ = chat_template_utils.render_jinja_template(
        conversations=[without_nulls(copy.deepcopy(messages))], tools=copy.deepcopy(tools), chat_template=source,
        add_generation_prompt=prompt, **SPECIAL)
    return texts[0]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{path}: {len(rows)} rows, {sum('error' in row for row in rows)} of them errors")


def expressions(folder):
    values = json.loads((folder / "values.json").read_text())
    rows = []
    for line in (folder / "expressions.jsonl").read_text().strip().split("\n"):
        source = json.loads(line)
        rows.append({"template": source, **result(
            lambda: chat_template_utils._compile_jinja_template(source).render(**copy.deepcopy(values)))})
    write(folder / "expressions_oracle.jsonl", rows)


def templates(folder, out, texts):
    rows = []
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_bytes().decode()
        row = {"template": path.name, "results": []}
        for messages, tools in CONVERSATIONS.values():
            for prompt in (False, True):
                found = result(lambda: render_conversation(source, messages, tools, prompt))
                if not texts:
                    text = found.get("text")
                    found = None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
                row["results"].append(found)
        rows.append(row)
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    conversations = [{"name": name, "messages": messages, "tools": tools} for name, (messages, tools) in CONVERSATIONS.items()]
    (out.parent / "conversations.json").write_text(json.dumps(conversations, ensure_ascii=False) + "\n")
    print(f"{out}: {len(rows)} templates, {sum(len(row['results']) for row in rows)} results")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["expressions", "templates"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, nargs="?")
    parser.add_argument("--texts", action="store_true", help="whole texts instead of digests")
    args = parser.parse_args()
    if args.what == "expressions":
        expressions(args.folder)
    else:
        templates(args.folder, args.out, args.texts)


main()
