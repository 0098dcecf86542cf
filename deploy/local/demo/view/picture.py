"""The view as a picture for a page."""

import html
import io
import re

from rich.cells import cell_len
from rich.console import Console

from deploy.local.demo.scene import Scene
from deploy.local.demo.view.panels import MAX_SENTENCES, draw

WIDTH = 110
HEIGHT = 20 + MAX_SENTENCES
TITLE = "python -m deploy.local demo"

_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_TEXT = re.compile(r'textLength="([\d.]+)"([^>]*)>([^<]*)<')


def draw_svg(scene: Scene) -> str:
    """The view as SVG. Whoever looks at it fetches nothing: rich's fonts, which are addresses, are left out."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(draw(scene, width=WIDTH, height=HEIGHT))
    svg = _COMMENT.sub("", _FONT.sub("", console.export_svg(title=TITLE, unique_id="limelight")))
    return _TEXT.sub(_widen, svg)


def _widen(match: re.Match[str]) -> str:
    """Gives text the length of its cells. Rich gives it that of its characters, which squeezes Chinese into half."""
    length, attributes, content = match.groups()
    text = html.unescape(content)
    return f'textLength="{float(length) * cell_len(text) / len(text):g}"{attributes}>{content}<'
