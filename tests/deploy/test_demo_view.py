"""What a person sees: sentences tinted by attention, figures, steps; on a wide terminal, a narrow one, none, as SVG."""

import io
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from deploy.local.demo.figures import Figures, Sentence, WorkerRow
from deploy.local.demo.scene import Scene
from deploy.local.demo.stages import Stage
from deploy.local.demo.view.panels import MAX_SENTENCES, draw
from deploy.local.demo.view.picture import draw_svg
from deploy.local.demo.view.plain import PlainView, describe
from deploy.local.demo.view.terminal import TerminalView
from deploy.local.demo.view.tint import ELLIPSIS, STEPS, tint
from worker.messages import AttentionMap, ModelRef

pytestmark = pytest.mark.fast

ENGLISH = "Hello team, the invoice is wrong and I would like my money back before Friday, please."
CHINESE = "你好，订单还没到，请帮我查一下快递在哪里，谢谢你们的帮助，辛苦了。"


def look(text: str, word: str, *, weight: float = 0.9) -> AttentionMap:
    """Attention to one word, the rest on the first character."""
    start = text.index(word)
    return AttentionMap(
        "tokens", ["token"], "text", [(0, 1), (start, start + len(word))], [1 - weight, weight], truncated=False
    )


def sentence(text: str = ENGLISH, word: str = "invoice", *, label: str = "billing") -> Sentence:
    return Sentence(text, "billing", label, 0.87, look(text, word))


def scene(sentences: tuple[Sentence, ...] = (sentence(), sentence(CHINESE, "没到", label="delivery"))) -> Scene:
    figures = Figures(
        records_in=4321,
        predictions=4200,
        dead_letters=86,
        records_per_second=987.4,
        latency_p50_ms=21.3,
        latency_p99_ms=88.0,
        accuracy=0.9123,
        lag_records=14,
        model=ModelRef("customer-messages", "ba8cb13cda5b", 20),
        workers=(WorkerRow("worker-1", [0, 2], 501.0, 8, 128 << 20), WorkerRow("worker-2", [], 0.0, 0, 64 << 20)),
        sentences=sentences,
    )
    scene = Scene()
    scene.broker = "Apache Kafka 4.3.0 at 127.0.0.1:19092"
    scene.stages = [Stage("stream", "500 records a second")]
    scene.figures = lambda: figures
    return scene


def render(scene: Scene, *, width: int, height: int = 40) -> str:
    console = Console(width=width, file=io.StringIO(), record=True, legacy_windows=False)
    console.print(draw(scene, width=width, height=height))
    return console.export_text()


def test_the_picture_has_every_figure() -> None:
    text = render(scene(), width=110)
    for expected in (
        "Apache Kafka 4.3.0 at 127.0.0.1:19092",
        "customer-messages ba8cb13c, round 20",
        "987",
        "4,321",
        "86",
        "14",
        "21 ms",
        "88 ms",
        "91.2%",
        "worker-1  0 2",
        "128 MiB",
        ENGLISH,
        CHINESE,
        "delivery ≠ billing",
    ):
        assert expected in text


def test_a_narrow_terminal_has_every_figure_too_and_no_line_is_too_long() -> None:
    text = render(scene(), width=44)
    for expected in ("987", "4,321", "21 ms", "88 ms", "91.2%", "worker-2", "invoice", "没到"):
        assert expected in text
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= 44


def test_as_many_sentences_are_shown_as_there_is_room_for() -> None:
    many = scene((sentence(),) * 100)
    assert render(many, width=110, height=100).count("invoice") == MAX_SENTENCES
    low = render(many, width=110, height=20)
    assert 3 <= low.count("invoice") < MAX_SENTENCES
    assert len(low.splitlines()) <= 20


def test_before_the_stream_each_step_has_a_line() -> None:
    scene = Scene()
    scene.stages = [Stage("broker", "starting"), Stage("training", "round 5/20: loss 1.2")]
    scene.stages[0].end("Apache Kafka 4.3.0, up")
    text = render(scene, width=80)
    assert re.search(r"✓ broker +Apache Kafka 4.3.0, up +\d\.\d s", text)
    assert "● training round 5/20: loss 1.2" in text
    assert "━" in text


def test_what_was_looked_at_is_tinted_and_nothing_else() -> None:
    tinted = tint(ENGLISH, look(ENGLISH, "invoice"), width=200)
    (span,) = [span for span in tinted.spans if span.style == STEPS[0][1]]
    assert tinted.plain[span.start : span.end] == "invoice"
    assert len({span.style for span in tinted.spans}) == 2  # and the first letter, a little


def test_more_weight_is_more_colour() -> None:
    styles = [
        tint("word", AttentionMap("t", [], "text", [(0, 4)], [least], False), width=9).spans for least, _ in STEPS
    ]
    assert [str(spans[0].style) for spans in styles] == [style for _, style in STEPS]
    assert tint("word", AttentionMap("t", [], "text", [(0, 4)], [0.01], False), width=9).spans == []


def test_without_attention_there_is_only_the_text() -> None:
    assert tint("word", None, width=9).plain == "word"
    assert tint("word", AttentionMap("t", [], "text", [], [], False), width=9).spans == []


def test_a_long_sentence_is_cut_around_what_was_looked_at() -> None:
    near = tint(ENGLISH, look(ENGLISH, "invoice"), width=40).plain
    assert near.startswith("Hello team")
    assert near.endswith(ELLIPSIS)
    far = tint(ENGLISH, look(ENGLISH, "Friday"), width=40).plain
    assert far.startswith(ELLIPSIS)
    assert "Friday, please." in far


@given(
    text=st.text(st.sampled_from("ab 你好，🙂\x1b\u202e\n"), min_size=1, max_size=60),
    width=st.integers(4, 50),
    data=st.data(),
)
def test_a_sentence_never_leaves_its_room_and_always_shows_what_was_looked_at(
    text: str, width: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    tinted = tint(text, AttentionMap("t", [], "text", [(place, place + 1)], [0.9], False), width=width)
    assert cell_len(tinted.plain) <= width
    assert [span for span in tinted.spans if span.style == STEPS[0][1]]
    assert tinted.plain.isprintable()


def test_a_text_cannot_steer_the_terminal() -> None:
    evil = "\x1b[31mred\x1b]0;title\x07\u202etxet"
    assert "\x1b" not in render(scene((Sentence(evil, "\x1b[2J", "\x1b[2J", 0.5, None),)), width=80)


def test_plain_lines_tell_each_step_once_and_the_figures_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("deploy.local.demo.view.plain.time.monotonic", lambda: now[0])
    out = io.StringIO()
    view, picture = PlainView(out), scene()
    for _ in range(3):
        view.show(picture)
    assert [line.partition("] ")[2] for line in out.getvalue().splitlines()] == ["stream: 500 records a second"]
    now[0] += 6
    view.show(picture)
    view.show(picture)
    picture.stages[0].end("all answered")
    view.show(picture)
    figures, end = out.getvalue().splitlines()[1:]
    for expected in ("987 records/s", "86 dead letters", "lag 14", "p50 21 ms p99 88 ms", "accuracy 0.912"):
        assert expected in figures
    assert "stream: all answered (" in end


def test_a_plain_line_has_a_dash_for_what_is_not_known() -> None:
    line = describe(Figures(records_in=1))
    assert line.endswith("latency p50 - p99 -, accuracy -")


def test_plain_lines_tell_how_far_a_long_step_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("deploy.local.demo.view.plain.time.monotonic", lambda: now[0])
    out, waiting = io.StringIO(), Scene()
    waiting.stages = [Stage("training", "loading")]
    view = PlainView(out)
    view.show(waiting)
    now[0] += 6
    view.show(waiting)
    assert out.getvalue().count("training: loading") == 2


def test_the_live_view_draws_and_leaves_the_last_picture() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=40)
    with TerminalView(console) as view:
        view.show(scene())
        view.draw(scene())
    assert out.getvalue().count("worker-1") >= 2
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_the_svg_is_whole_and_fetches_nothing() -> None:
    svg = draw_svg(scene())
    ET.fromstring(svg)
    assert set(re.findall(r"https?://[^\"' ]*", svg)) == {"http://www.w3.org/2000/svg"}
    assert "@font-face" not in svg
    assert "没到" in svg


def test_the_svg_gives_chinese_two_cells_for_each_character() -> None:
    length = {text: float(n) for n, text in re.findall(r'textLength="([\d.]+)"[^>]*>([^<]+)<', draw_svg(scene()))}
    assert length["没到"] == pytest.approx(4 / 7 * length["invoice"])
