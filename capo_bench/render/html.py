"""What every page of ours is made with: templates, escaping, numbers as text.

Whatever comes from outside is escaped by default: in HTML by Jinja2, in Markdown by
`escape_markdown`, in embedded data by `script_json`.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import isfinite
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from capo_bench.display import visible
from capo_bench.stats.resampling import Estimate, Undefined


def html(
    template: str,
    styles: Sequence[str],
    script: str,
    data: object,
    shown: Mapping[str, Any],
) -> str:
    """A page that makes no request; its policy allows its own script, by its hash, and no other.

    Args:
        template: Name of the template; it shows `style`, `script`, `script_hash` and `data`.
        styles: Names of the style sheets, in their order.
        script: Name of the script.
        data: What the script reads, as plain data.
        shown: What else the template shows.
    """
    page = _escaping()
    code = _source(page, script)
    return page.get_template(template).render(
        **shown,
        style=Markup("".join(_source(page, name) for name in styles)),
        script=Markup(code),
        script_hash=b64encode(sha256(code.encode()).digest()).decode(),
        data=Markup(script_json(data)),
    )


def drawing(template: str, style: str, shown: Mapping[str, Any]) -> str:
    """An SVG file of its own.

    Args:
        template: Name of the template; it shows `style`.
        style: Name of the style sheet.
        shown: What else the template shows.
    """
    page = _escaping()
    return page.get_template(template).render(**shown, style=Markup(_source(page, style)))


def _escaping() -> Environment:
    """Templates in which everything that is shown is escaped."""
    page = Environment(
        loader=PackageLoader("capo_bench.render"),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {
        "number": number,
        "interval": interval,
        "place": place,
        "breakable": breakable,
    }
    return page


def _seen(value: Any) -> Any:
    """Plain text as `visible` shows it; markup of ours, and what is no text, as it is."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value, lines=True) if plain else value


def _source(page: Environment, name: str) -> str:
    assert page.loader is not None
    return page.loader.get_source(page, name)[0]


def markdown(template: str, shown: Mapping[str, Any]) -> str:
    """Markdown in which nothing that is shown becomes markup.

    Args:
        template: Name of the template.
        shown: What it shows.
    """
    page = Environment(
        loader=PackageLoader("capo_bench.render"),
        autoescape=False,  # this is no HTML; every expression passes escape_markdown
        finalize=escape_markdown,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"number": number, "interval": interval}
    return page.get_template(template).render(**shown)


def escape_markdown(value: object) -> str:
    """Text that Markdown shows as it is, in a table's cell too: no markup, no HTML, one line."""
    text = visible(" ".join(str(value).split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub makes mentions, references and formulas of these, and many readers links of addresses.
    text = re.sub(r"[@#$]", lambda found: f"&#{ord(found[0])};", text)
    text = re.sub(r"(?i)(?<=www)\.", "&#46;", text.replace("://", "&#58;//"))
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    # Within a word an underscore is no markup.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", text)


def script_json(value: object) -> str:
    """JSON that can stand inside a `script` element: nothing in it ends it or opens another."""
    text = json.dumps(_seen_all(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _seen_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_seen(key): _seen_all(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_seen_all(part) for part in value]
    return _seen(value)


def decimal(value: float) -> str:
    """A number with three decimals; what rounds to zero has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"


def number(found: Estimate | Undefined | None) -> str:
    """An estimate's value as tables show it."""
    if found is None:
        return "–"
    return "not defined" if isinstance(found, Undefined) else decimal(found.value)


def interval(found: Estimate | Undefined | None) -> str:
    """An estimate's 95 % interval as tables show it."""
    if not isinstance(found, Estimate):
        return ""
    return (
        f"{decimal(found.low)} to {decimal(found.high)}" if isfinite(found.low) else "no interval"
    )


def place(share: float) -> str:
    """A share as a position in per cent, kept inside the drawing."""
    return f"{100 * min(max(share, 0), 1):.1f}%"


def breakable(name: str) -> Markup:
    """A name whose line may break after `_` and `-`."""
    return Markup(re.sub(r"([_-])", r"\1<wbr>", str(escape(visible(name)))))


def drawn(found: Estimate) -> Estimate:
    """The estimate with an interval that can be drawn: without width where there is none."""
    if isfinite(found.low):
        return found
    return Estimate(found.value, found.stderr, found.value, found.value)
