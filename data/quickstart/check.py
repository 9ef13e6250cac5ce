"""Check the quickstart data: counts, languages, overlap, names in requests, baselines."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
TALK = {"en": "Talk", "ru": "Разговор"}


def load(part):
    return json.loads((HERE / f"{part}.json").read_text(encoding="utf-8"))


def language(example):
    return "ru" if re.search("[а-яё]", " ".join(example["prompt"]["AvailableActions"]).casefold()) else "en"


def norm(text):
    return " ".join(re.findall(r"\w+", text.casefold()))


def stems(text):
    spaced = re.sub(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])", " ", text)
    return {word[:4] for word in norm(spaced).split()}


def keyword(example):
    request, best, top = stems(example["prompt"]["UserInput"]), TALK[language(example)], 0
    for action in example["prompt"]["AvailableActions"]:
        if (score := len(stems(action) & request)) > top:
            best, top = action, score
    return best


def main():
    parts = {part: load(part) for part in ("train", "eval")}
    errors, requests = [], {}
    for part, data in parts.items():
        rows = data["examples"]
        langs = Counter(map(language, rows.values()))
        print(part, len(rows), dict(langs), f"English share {langs['en'] / len(rows):.2f}")
        for lang in TALK:
            some = [e for e in rows.values() if language(e) == lang]
            right = Counter(e["answer"]["Content"]["Action"] for e in some)
            offered = Counter(a for e in some for a in e["prompt"]["AvailableActions"])
            wrong = Counter(a for e in some for a in e["prompt"]["AvailableActions"] if a != e["answer"]["Content"]["Action"])
            print(" ", lang, "right:", dict(right))
            print(" ", lang, "distractor:", dict(wrong))
            for action in offered:
                if not right[action] or not wrong[action]:
                    errors.append(f"{part} {lang}: {action} is not both a right answer and a distractor")
            majority = right[TALK[lang]] / len(some)
            rule = sum(keyword(e) == e["answer"]["Content"]["Action"] for e in some) / len(some)
            print(f"  {lang} {part}: always talk {majority:.3f}, keyword rule {rule:.3f}")
            if part == "eval" and lang == "ru" and max(majority, rule) > 0.4:
                errors.append("a Russian baseline is above 40%")
        for key, e in rows.items():
            prompt, action = e["prompt"], e["answer"]["Content"]["Action"]
            if list(e) != ["prompt", "answer"] or list(e["answer"]) != ["MessageText", "Content"]:
                errors.append(f"{part} {key}: fields")
            if action not in [*prompt["AvailableActions"], TALK[language(e)]]:
                errors.append(f"{part} {key}: action is not available")
            if not 3 <= len(set(prompt["AvailableActions"])) == len(prompt["AvailableActions"]) <= 4:
                errors.append(f"{part} {key}: available actions")
            if action.casefold() in norm(prompt["UserInput"]).replace(" ", ""):
                errors.append(f"{part} {key}: the request holds its action's name")
            text = norm(prompt["UserInput"])
            if text in requests:
                errors.append(f"{part} {key}: request also in {requests[text]}")
            requests[text] = f"{part} {key}"
        print("  history rows:", sum(bool(e["prompt"]["History"]) for e in rows.values()))
    if parts["train"]["system"] != parts["eval"]["system"]:
        errors.append("system prompts differ")
    print("\n".join(errors) or "ok")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
