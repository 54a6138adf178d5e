"""What pages have in common: each is one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .pictures import data_uri, figure_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --paper: #f4f5f7; --card: #ffffff; --ink: #23272e; --faint: #67707d;
  --line: #e1e4e9; --accent: #2166ac; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #0e1014; --card: #171a20; --ink: #d7dbe2;
  --faint: #939cab; --line: #2b3038; --accent: #6aaef0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 2.2rem 1.2rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 0 0 .2rem; }
p { margin: .2rem 0 .9rem; color: var(--faint); max-width: 72ch; }
.notice { border-left: 4px solid var(--accent); padding: .3rem .9rem; color: var(--ink); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tile small { font-size: .85rem; font-weight: normal; white-space: nowrap; }
.tile span { color: var(--faint); font-size: .85rem; }
section { padding: 1.1rem 1.2rem 1.2rem; margin: 1rem 0; break-inside: avoid; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
img.atoms { width: min(100%, 780px); image-rendering: pixelated; border-radius: 4px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; margin: .8rem 0; break-inside: avoid; }
figure { margin: 0; }
figure img { width: 100%; border-radius: 4px; }
figcaption { color: var(--faint); font-size: .85rem; padding-top: .3rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
td { border-top: 1px solid var(--line); padding: .3rem .6rem .3rem 0; vertical-align: top;
  overflow-wrap: anywhere; }
th { text-align: left; font-weight: normal; color: var(--faint); padding: 0 .6rem .3rem 0; }
td:first-child { color: var(--faint); width: 14rem; }
@media print { body { background: #fff; } main { max-width: none; padding: 0; }
  .tile, section { border-color: #ccc; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>thalweg: {title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    )


def head(title: str, words: str, metrics: dict[str, Any]) -> str:
    """Title and introduction; a notice where the run was interrupted."""
    notice = ""
    if not metrics["finished"]:
        notice = (
            f'<p class="notice">The run was interrupted after {metrics["n_steps"]:,} steps. The page shows '
            "what was learnt until then; <code>--resume</code> goes on.</p>"
        )
    return f"<header><h1>{title}</h1><p>{words}</p>{notice}</header>\n"


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Figures in boxes: what is large, and the words below it."""
    cells = "".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in values)
    return f'<div class="tiles">{cells}</div>\n'


def section(title: str, words: str, body: str) -> str:
    text = f"<p>{words}</p>" if words else ""
    return f"<section><h2>{title}</h2>{text}{body}</section>\n"


def figure(draw: Callable[[bool], Figure], description: str) -> str:
    """A figure for light and one for dark paper; the reader's browser picks."""
    light, dark = (data_uri(figure_png(draw(d))) for d in (False, True))
    return (
        f'<picture><source srcset="{dark}" media="screen and (prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{description}"></picture>'
    )


def pair(uris: Sequence[str], captions: Sequence[str]) -> str:
    """Two pictures side by side, with their captions."""
    words = [escape(caption) for caption in captions]
    cells = [
        f'<figure><img src="{uri}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        for uri, caption in zip(uris, words)
    ]
    return f'<div class="pair">{"".join(cells)}</div>'


def settings(metrics: dict[str, Any], inputs: tuple[str, str]) -> str:
    """The options, the build and the inputs (what they are called, which they are) as a table."""
    rows = [(name.replace("_", " "), str(value)) for name, value in metrics["options"].items()]
    build = metrics["builds"][-1]
    rows.append(("build", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in build.items())))
    rows.append(inputs)
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return section("Settings", "", f"<table>{cells}</table>")


def base_names(paths: Iterable[str]) -> str:
    """The files' names without their folders."""
    return ", ".join(path.replace("\\", "/").rpartition("/")[2] for path in paths)
