"""The look of what a notebook shows: one small style sheet beside each output, which touches nothing else in the notebook.

Colours follow the text around them, so that they suit a light and a dark theme. The notebook's own rules for tables are more
specific than a class; `:is` with an id that nothing has makes these win without `!important`.
"""

from __future__ import annotations

__all__ = ["in_notebook"]

_ME = ":is(#tinymlops-output,.tinymlops)"
_RULES = (
    ("", "font-size:13px;line-height:1.45;overflow-x:auto"),
    ("*", "box-sizing:border-box"),
    ("table", "border-collapse:collapse;table-layout:auto;width:auto;margin:0 0 12px;font-size:inherit;border:0"),
    (
        "caption",
        "caption-side:top;text-align:left;color:inherit;font-size:inherit;font-weight:600;padding:4px 0;white-space:normal",
    ),
    ("tr", "background:none;border:0"),
    (":is(th,td)", "text-align:left;vertical-align:baseline;padding:4px 20px 4px 0;color:inherit;background:none"),
    (":is(th,td)", "border:0;border-bottom:1px solid color-mix(in srgb,currentColor 16%,transparent)"),
    (":is(th,td)", "white-space:normal;max-width:60em;overflow-wrap:break-word"),
    ("thead th", "opacity:.75;border-bottom-color:color-mix(in srgb,currentColor 45%,transparent)"),
    ("th", "font-weight:500"),
    (".num", "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"),
    (".soft", "opacity:.75"),
    (":is(h2,h3)", "font-size:15px;font-weight:600;margin:12px 0 4px;color:inherit"),
    ("p", "margin:0 0 4px;max-width:60em"),
    (":is(ul,dl)", "margin:0 0 8px;padding:0;list-style:none"),
    ("dl", "display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px 20px"),
    ("dt", "font-weight:400;opacity:.75;margin:0"),
    ("dd", "margin:0"),
    (
        "pre",
        "margin:0 0 8px;padding:8px;white-space:pre-wrap;background:color-mix(in srgb,currentColor 6%,transparent)",
    ),
    ("svg", "max-width:100%"),
    (".state", "white-space:nowrap"),
    (".state::before", 'content:"○ "'),
    (".good::before", 'content:"● ";color:color-mix(in srgb,#2a9d98 60%,currentColor)'),
    (".going::before", 'content:"◐ ";color:color-mix(in srgb,#2a9d98 60%,currentColor)'),
    (":is(.bad,.warn)", "font-weight:600;color:color-mix(in srgb,#d9641c 60%,currentColor)"),
    (".bad::before", 'content:"✕ "'),
    (".warn::before", 'content:"▲ "'),
)
_SHEET = "".join(f"{_ME} {name}{{{rules}}}" if name else f"{_ME}{{{rules}}}" for name, rules in _RULES)


def in_notebook(*parts: str) -> str:
    """Return parts of HTML as one output of a notebook.

    Args:
        parts: HTML that is whole and whose texts are escaped.

    Example:
        >>> in_notebook("<p>1 run</p>")[-26:]
        '</style><p>1 run</p></div>'
    """
    return f'<div class="tinymlops"><style>{_SHEET}</style>{"".join(parts)}</div>'
