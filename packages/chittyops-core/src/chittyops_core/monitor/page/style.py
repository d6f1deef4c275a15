"""The page's only style sheet, and the hash by which the browser is told to accept no other."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from chittyops_core.monitor.page.colour import readable

__all__ = ["DARK", "LIGHT", "hash_of", "sheet"]

LIGHT = {
    "page": "#f5f6f8",
    "card": "#ffffff",
    "line": "#dfe3e8",
    "text": "#17202b",
    "soft": "#566170",
    "ok": "#146c3c",
    "ok-bar": "#2f9e63",
    "ok-tint": "#e9f6ee",
    "info": "#1a56a8",
    "info-bar": "#4a86d8",
    "info-tint": "#e9f1fc",
    "minor": "#7a5000",
    "minor-bar": "#b98200",
    "minor-tint": "#fdf3dc",
    "major": "#9a3a00",
    "major-bar": "#d9630f",
    "major-tint": "#fdeee2",
    "bad": "#b01228",
    "bad-bar": "#cf2840",
    "bad-tint": "#fdecee",
    "none": "#566170",
    "none-bar": "#838d99",
    "none-tint": "#eceff2",
}
"""Text colours keep 4.5 to 1 on page, card and their tint, bars 3 to 1 on the card (WCAG 1.4.3,
1.4.11); a test computes both."""
DARK = {
    "page": "#0e1319",
    "card": "#161d25",
    "line": "#2b3541",
    "text": "#e8edf3",
    "soft": "#9dabba",
    "ok": "#5fd39a",
    "ok-bar": "#3fae78",
    "ok-tint": "#14291f",
    "info": "#82b4f5",
    "info-bar": "#5a94e0",
    "info-tint": "#15253a",
    "minor": "#e9bf5b",
    "minor-bar": "#cf9f2e",
    "minor-tint": "#2c2513",
    "major": "#f6a26a",
    "major-bar": "#e57f3c",
    "major-tint": "#321f13",
    "bad": "#fb8a98",
    "bad-bar": "#ee5568",
    "bad-tint": "#35171c",
    "none": "#9dabba",
    "none-bar": "#738090",
    "none-tint": "#202933",
}

_RULES = """
*,::before,::after{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);border-top:4px solid var(--accent);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif;
overflow-wrap:anywhere}
header,main,footer{max-width:54rem;margin:0 auto;padding:0 1.25rem}
header{display:flex;align-items:center;gap:.75rem;padding-top:2rem;padding-bottom:1.25rem}
header img{height:2.5rem;max-width:12rem;object-fit:contain}
h1,h2,h3,h4,p,ul,ol{margin:0;padding:0}
ul,ol{list-style:none}
h1,.brand{font-size:1.375rem;line-height:1.25;font-weight:650;letter-spacing:-.01em}
h2{font-size:1.125rem;line-height:1.3;font-weight:650;margin:2.75rem 0 .75rem}
h3{font-size:1rem;font-weight:650}
.group{color:var(--soft);font-size:.875rem;margin:1.5rem 0 .5rem}
h4{font-size:1rem;font-weight:600}
a{color:var(--accent);text-underline-offset:.15em}
.brand{font-size:1rem;color:var(--soft)}
main>h1{margin-bottom:.5rem}
.brand a{color:inherit;text-decoration:none}
a:hover,.brand a:hover{text-decoration:underline;text-decoration-thickness:2px}
:focus-visible{outline:3px solid var(--accent);outline-offset:3px;border-radius:3px}
.skip{position:absolute;left:-99rem;top:.5rem;z-index:1;background:var(--card);padding:.5rem 1rem}
.skip:focus{left:1rem}
.i{width:1.125em;height:1.125em;flex:none;fill:currentColor;vertical-align:-.2em}
.g{fill:none;stroke:var(--g,var(--card));stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.r{fill:none;stroke:currentColor;stroke-width:2}
.banner{display:flex;align-items:center;gap:1rem;padding:1.25rem 1.5rem;border-radius:.75rem;
border:1px solid var(--b);background:var(--t);color:var(--c)}
.banner h2{margin:0;font-size:1.375rem;letter-spacing:-.01em}
.banner p{color:var(--text);font-size:.875rem}
.banner{--g:var(--t)}
.banner .i{width:2.25rem;height:2.25rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.75rem}
.card>*{padding:1rem 1.25rem}
.card>*+*{border-top:1px solid var(--line)}
.row{display:flex;flex-wrap:wrap;gap:.125rem 1rem;justify-content:space-between}
.row h3,.row h4{flex:1 1 auto}
.state{color:var(--c);font-weight:550;font-size:.9375rem}
.soft,.foot{color:var(--soft);font-size:.875rem}
.bars{overflow:hidden;margin:.375rem 0}
.bars svg{display:block;width:100%;height:2rem}
.o{fill:var(--ok-bar)}.d{fill:var(--minor-bar)}.p{fill:var(--major-bar)}
.m{fill:var(--bad-bar)}.n{fill:var(--none-bar)}
.bars rect:hover{opacity:.7}
.foot{display:flex;justify-content:space-between;align-items:center;gap:.75rem;
font-variant-numeric:tabular-nums;font-size:.8125rem}
.foot::before,.foot::after{content:"";order:1;flex:1;height:1px;background:var(--line)}
.foot::after{order:3}
.foot>span{white-space:nowrap}
.took{margin-top:.375rem;font-size:.8125rem}
.foot>:nth-child(2){order:2;color:var(--text);font-weight:550}.foot>:nth-child(3){order:4}
.short{display:none}
.key{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin-top:.875rem;color:var(--soft);
font-size:.8125rem}
.key svg{width:.4375rem;height:1rem;vertical-align:-.25em;margin-right:.375rem}
.said{margin-top:.75rem;padding-left:1rem;border-left:2px solid var(--line)}
.said:first-child{margin-top:0}
.said li+li{margin-top:.75rem}
.said p{white-space:pre-line}
.said b{font-weight:650}
.open{border-color:var(--b);border-left-width:4px}
.open>*+*{border-top-color:var(--line)}
.gap{margin-top:.75rem}
.day{font-size:.9375rem;margin:1.5rem 0 .5rem}
.quiet{padding:.625rem 0;border-bottom:1px solid var(--line)}
footer{margin-top:3rem;padding-top:1.25rem;padding-bottom:3rem}
footer ul{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;margin-top:.25rem}
footer a{display:inline-block;padding:.25rem 0}
.s-ok{--c:var(--ok);--b:var(--ok-bar);--t:var(--ok-tint)}
.s-info{--c:var(--info);--b:var(--info-bar);--t:var(--info-tint)}
.s-minor{--c:var(--minor);--b:var(--minor-bar);--t:var(--minor-tint)}
.s-major{--c:var(--major);--b:var(--major-bar);--t:var(--major-tint)}
.s-bad{--c:var(--bad);--b:var(--bad-bar);--t:var(--bad-tint)}
.s-none{--c:var(--none);--b:var(--none-bar);--t:var(--none-tint)}
@media (max-width:34rem){
header,main,footer{padding-left:1rem;padding-right:1rem}
header{padding-top:1.25rem}
.banner{padding:1rem}
.banner h2{font-size:1.1875rem}
.card>*{padding:.875rem 1rem}
.bars svg{width:300%;margin-left:-200%}
.foot{gap:.25rem}
.foot::before,.foot::after{display:none}
.long{display:none}.short{display:inline}
}
@media (prefers-reduced-motion:no-preference){.bars rect{transition:opacity .1s}}
@media print{
body{border:0;background:none;font-size:10pt}
.skip,footer ul{display:none}
.card>*,.incident{break-inside:avoid}
.banner,.bars,.i,.key{print-color-adjust:exact;-webkit-print-color-adjust:exact}
header,main,footer{max-width:none;padding-left:0;padding-right:0}
}
"""


@lru_cache(maxsize=64)
def sheet(accent: str) -> str:
    """Return the style sheet for a brand's *accent* colour, `#rrggbb`."""
    light, dark = (_variables(palette, accent) for palette in (LIGHT, DARK))
    return (
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"@media print{{:root{{{light}}}}}{_RULES}"
    )


@lru_cache(maxsize=64)
def hash_of(style: str) -> str:
    """Return *style* as a source for `style-src` (CSP level 3, section 2.3.1)."""
    digest = hashlib.sha256(style.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _variables(palette: dict[str, str], accent: str) -> str:
    colours = {**palette, "accent": readable(accent, palette["card"], palette["page"])}
    return "".join(f"--{name}:{value};" for name, value in colours.items())
