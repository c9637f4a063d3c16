"""Questions with the note each wants: ``python -m find_documents.generate FOLDER``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from find_documents.corpus import question

__all__ = ["generate"]


def generate(folder: str | Path, count: int, seed: int) -> None:
    """Write `count` questions and ``labels.json`` (file name -> id of a note) into `folder`."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    labels: dict[str, int] = {}
    for number in range(count):
        text, wanted = question(seed, number)
        name = f"{number:04d}.txt"
        (target / name).write_text(text + "\n", encoding="utf-8")
        labels[name] = wanted
    (target / "labels.json").write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Write labelled questions from the command line."""
    parser = argparse.ArgumentParser(description="Write labelled questions.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generate(options.folder, options.count, options.seed)
    print(f"{options.count} questions and labels.json in {options.folder}")


if __name__ == "__main__":
    main()
