#!/usr/bin/env python3
"""Builds public/ from pages/*.md and look/: a small Markdown, one template, no dependencies.

    python3 build.py            # writes public/
"""

import html
import re
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES, LOOK, PUBLIC = HERE / "pages", HERE / "look", HERE / "public"


def inline(text: str) -> str:
    """`code`, **strong**, *emphasis* and [links](address) of one paragraph."""
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)
    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r'<a href="\2">\1</a>', text)


def block(lines: list[str]) -> str:
    """One block of lines between empty lines."""
    first = lines[0]
    if first.startswith("```"):
        return "<pre><code>" + html.escape("\n".join(lines[1:-1])) + "</code></pre>"
    if heading := re.match(r"(#{1,3}) (.+)", first):
        level = len(heading[1])
        return f"<h{level}>{inline(heading[2])}</h{level}>"
    if first.startswith("- "):
        return "<ul>" + "".join(f"<li>{inline(line[2:])}</li>" for line in lines) + "</ul>"
    if first.startswith("> "):
        return "<blockquote><p>" + inline(" ".join(line[2:] for line in lines)) + "</p></blockquote>"
    return "<p>" + inline(" ".join(lines)) + "</p>"


def blocks(text: str) -> str:
    """Markdown as HTML."""
    found: list[list[str]] = [[]]
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if line.strip() or fenced:
            found[-1].append(line)
        else:
            found.append([])
    return "\n".join(block(lines) for lines in found if lines)


def read(path: Path) -> tuple[dict[str, str], str]:
    """Lines of `key: value`, an empty line, then the text."""
    head, _, text = path.read_text(encoding="utf-8").partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()), text


def main() -> None:
    shutil.rmtree(PUBLIC, ignore_errors=True)
    shutil.copytree(LOOK, PUBLIC, ignore=shutil.ignore_patterns("page.html"))
    template = (LOOK / "page.html").read_text(encoding="utf-8")
    pages = [(path, *read(path)) for path in sorted(PAGES.glob("*.md"))]
    shown = sorted((head for _, head, _ in pages if "menu" in head), key=lambda head: head["menu"])
    for path, head, text in pages:
        name = path.stem + ".html"
        menu = "".join(
            f'<a href="{other["address"]}"{" aria-current=page" if other is head else ""}>{other["title"]}</a>'
            for other in shown
        )
        page = template
        for key, value in {"title": head["title"], "menu": menu, "content": blocks(text)}.items():
            page = page.replace("{{ " + key + " }}", value)
        (PUBLIC / name).write_text(page, encoding="utf-8")
        print(f"{path.relative_to(HERE)} -> public/{name}")


if __name__ == "__main__":
    main()
