"""sampler.json: what transformers' logits processors leave of logits. Needs `pip install transformers numpy`; the text of the
processors runs as it is, on numpy arrays in f64 that answer to the names they use of torch."""
import importlib.metadata
import importlib.util
import json
import math
import pathlib
import random
import re
import types

import numpy as np


class Array(np.ndarray):
    def dim(self): return self.ndim
    def size(self, axis=None): return self.shape if axis is None else self.shape[axis]
    def softmax(self, dim): return softmax(self, dim)
    def cumsum(self, dim): return of(np.cumsum(np.asarray(self), dim))
    def amax(self, dim, keepdim): return of(np.asarray(self).max(dim, keepdims=keepdim))
    def nansum(self, dim, keepdim): return of(np.nansum(np.asarray(self), dim, keepdims=keepdim))
    def sum(self, dim): return of(np.asarray(self).sum(dim))
    def masked_fill(self, mask, value): return of(np.where(mask, value, np.asarray(self)))
    def gather(self, dim, index): return of(np.take_along_axis(np.asarray(self), np.asarray(index), dim))
    def clamp(self, max): return of(np.minimum(np.asarray(self), max))
    def clamp_(self, max): np.minimum(self, max, out=self)
    def view(self, *shape): return of(np.asarray(self).reshape(shape))

    def scatter_(self, dim, index, value):
        np.put_along_axis(self, np.asarray(index), value, dim)
        return self

    def scatter(self, dim, index, value): return of(np.array(self)).scatter_(dim, index, np.asarray(value))


def of(x): return np.asarray(x).view(Array)


def softmax(x, dim=-1):
    e = np.exp(np.asarray(x) - np.asarray(x).max(dim, keepdims=True))
    return of(e / e.sum(dim, keepdims=True))


def sort(x, descending):
    assert not descending
    order = np.argsort(np.asarray(x), axis=-1, kind="stable")
    return of(np.take_along_axis(np.asarray(x), order, -1)), of(order)


class Top(tuple):
    indices = property(lambda self: self[1])


def topk(x, k, dim=-1):
    order = np.argsort(-np.asarray(x), axis=dim, kind="stable")[..., :k]
    return Top((of(np.take_along_axis(np.asarray(x), order, dim)), of(order)))


def log_softmax(x, dim):
    m = np.asarray(x) - np.asarray(x).max(dim, keepdims=True)
    return of(m - np.log(np.exp(m).sum(dim, keepdims=True)))


def pad(x, sides): return of(np.pad(np.asarray(x), [(0, 0), sides]))


functional = types.SimpleNamespace(log_softmax=log_softmax, pad=pad)
torch = types.SimpleNamespace(Tensor=Array, LongTensor=Array, nn=types.SimpleNamespace(functional=functional), sort=sort, topk=topk, softmax=softmax,
                              exp=lambda x: of(np.exp(np.asarray(x))), abs=lambda x: of(np.abs(np.asarray(x))),
                              gather=lambda x, dim, index: x.gather(dim, index), where=lambda c, a, b: of(np.where(c, a, b)))


def processors():
    path = pathlib.Path(importlib.util.find_spec("transformers").origin).parent / "generation" / "logits_process.py"
    text, found = path.read_text(), {}
    for name in ("RepetitionPenaltyLogitsProcessor", "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper", "TypicalLogitsWarper"):
        body = re.search(rf"^class {name}\(.*?(?=^class |\Z)", text, re.M | re.S).group(0)
        scope = {"torch": torch, "math": math, "LogitsProcessor": object, "add_start_docstrings": lambda *_: lambda f: f, "LOGITS_PROCESSOR_INPUTS_DOCSTRING": ""}
        exec(compile(body, str(path), "exec"), scope)
        found[name] = scope[name]
    return found


def probabilities(found, case):
    scores, ids = of(np.array([case["logits"]], dtype=np.float64)), of(np.array([case["prompt"]]))
    chain = []
    if "repetition_penalty" in case: chain.append(found["RepetitionPenaltyLogitsProcessor"](case["repetition_penalty"]))
    chain.append(found["TemperatureLogitsWarper"](case["temperature"]))
    if "top_k" in case: chain.append(found["TopKLogitsWarper"](case["top_k"]))
    if "top_p" in case: chain.append(found["TopPLogitsWarper"](case["top_p"]))
    if "min_p" in case: chain.append(found["MinPLogitsWarper"](case["min_p"]))
    if "typical_p" in case: chain.append(found["TypicalLogitsWarper"](case["typical_p"]))
    for one in chain:
        scores = one(ids, scores)
    return [float(p) for p in softmax(scores)[0]]


def main():
    random.seed(3)
    found, cases = processors(), []
    with np.errstate(all="ignore"):
        for number in range(60):
            case = {"logits": [float(np.float32(random.gauss(0, 3))) for _ in range(40)], "prompt": [random.randrange(40) for _ in range(9)],
                    "temperature": random.choice([0.3, 0.7, 1.0, 1.6])}
            if number % 5 == 0:
                case["logits"] = [round(x) * 1.0 for x in case["logits"]]  # equals
            for name, values in (("repetition_penalty", [1.1, 1.8, 0.7]), ("top_k", [1, 3, 12, 100]), ("top_p", [0.1, 0.5, 0.9, 0.99]),
                                 ("min_p", [0.02, 0.2]), ("typical_p", [0.2, 0.6, 0.95])):
                if number < 15 and number % 5 != ["repetition_penalty", "top_k", "top_p", "min_p", "typical_p"].index(name): continue
                if random.random() < 0.6: case[name] = random.choice(values)
            case["probabilities"] = probabilities(found, case)
            cases.append(case)
    out = {"transformers": importlib.metadata.version("transformers"), "cases": cases}
    pathlib.Path(__file__).with_name("sampler.json").write_text(json.dumps(out) + "\n")


main()
