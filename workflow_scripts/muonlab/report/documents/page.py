"""The frame of the report: its style, and its navigation. It is a template for `str.format`."""

STYLE = """
:root { color-scheme: light; --ink: #1f2731; --muted: #5b6470; --line: #e3e7eb; --blue: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.55 system-ui, "DejaVu Sans", sans-serif; color: var(--ink);
  background: #fff; display: grid; grid-template-columns: 15rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.4rem 1.1rem;
  border-right: 1px solid var(--line); background: #f7f9fa; font-size: .9rem; }
nav a { display: block; padding: .28rem 0; color: var(--ink); text-decoration: none; }
nav a:hover { color: var(--blue); }
nav strong { display: block; margin-bottom: .6rem; }
main { max-width: 68rem; padding: 1.6rem 2.2rem 4rem; }
section { margin-bottom: 3.2rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .6rem; }
h2 { font-size: 1.35rem; border-top: 1px solid var(--line); padding-top: 1.4rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
h4 { font-size: .98rem; margin: 1.3rem 0 .4rem; }
figure { margin: 1.6rem 0; }
figure img { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 6px; }
figcaption { font-size: .85rem; color: var(--muted); margin-top: .4rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .84rem; }
th, td { text-align: left; vertical-align: top; padding: .34rem .6rem;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; border-bottom: 2px solid #cfd6dc; }
tbody tr:hover { background: #f7f9fa; }
details { border: 1px solid var(--line); border-radius: 6px; padding: .45rem .8rem; margin: .5rem
0; } summary { cursor: pointer; font-weight: 600; }
.warning { background: #fff4e0; border-left: 4px solid #e69f00; padding: .55rem .8rem; }
.where { font-size: .82rem; color: var(--muted); }
.holds { color: #007a59; } .fails { color: #b84a00; } .depends { color: #a06b00; }
.open { color: #5b6470; } .none { color: #8c95a0; }
code { font-size: .88em; background: #f1f4f6; padding: .05rem .25rem; border-radius: 3px; }
@media (max-width: 60rem) { body { display: block; } nav { position: static; height: auto;
  border: 0; } main { padding: 1rem; } }
@media print { nav { display: none; } body { display: block; } details { border: 0; } }
"""

PAGE = (
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<meta name="description" content="{description}">
<style>"""
    + STYLE.replace("{", "{{").replace("}", "}}")
    + """</style>
</head>
<body>
<nav><strong>{title}</strong>
<a href="#top">What was found</a><a href="#claims">Claims</a>{links}</nav>
<main>
{content}
</main>
</body>
</html>
"""
)
