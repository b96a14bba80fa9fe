"""From record to verdict to page: every step can fail, and the committed page is up to date."""

from __future__ import annotations

import html.parser
import math
import re
from pathlib import Path

import pytest

from rnnlib.checks import ArgumentError
from rnnlib.claims import PAPERS, find, ledger, of_paper, papers
from rnnlib.claims.claim import Claim, NotMeasured, Verdict, duration, evaluate
from rnnlib.records import RecordError, Records, default_folder, make

ROOT = Path(__file__).resolve().parents[2]


def a_record(experiment="music", variant="", scale="reduced", seconds=60.0, rate=0.9):
    record = make(
        experiment,
        scale,
        {"hidden_size": 2},
        [0, 1],
        [{"condition": {"threshold": 1.0}, "metrics": {"rate": [rate, rate]}}],
        wall_time_s=seconds,
        device="cpu",
        variant=variant,
        reduced="" if scale == "paper" else "2 seeds",
    )
    return record.model_copy(update={"hardware": "a processor, 2 cores"})


def mean_rate(found):
    rates = [rate for record in found for rate in record.results[0].metrics["rate"]]
    return {"rate": sum(rates) / len(rates), "n": len(found)}


def judge_rate(values):
    return Verdict.REPRODUCED if values["rate"] > 0.5 else Verdict.NOT_REPRODUCED


def a_claim(**changes):
    fields = {
        "id": "P12-T1",
        "kind": "table",
        "where": "table 1",
        "statement": "Clipping helps.",
        "paper": "0.9",
        "ours": "{rate:.2f} over {n}",
        "measure": mean_rate,
        "judge": judge_rate,
        "experiment": "music",
    }
    return Claim(**(fields | changes))


def mathematics(value=1.0, verdict=Verdict.REPRODUCED, **changes):
    fields = {
        "id": "P12-E7",
        "kind": "equation",
        "where": "section 2.1, equation 7",
        "measure": lambda: {"x": value},
        "judge": lambda v: verdict,
        "ours": "{x:.1f}",
        "experiment": None,
    }
    return a_claim(**(fields | changes))


def test_a_claim_without_a_record_has_not_been_run():
    row = evaluate(a_claim(), Records())
    assert (row.verdict, row.record, row.scale) == (Verdict.NOT_RUN, None, "–")


def test_the_scale_decides_between_reproduced_and_reduced():
    paper = evaluate(a_claim(), Records([a_record(scale="paper")]))
    reduced = evaluate(a_claim(), Records([a_record(scale="reduced")]))
    assert (paper.verdict, paper.scale) == (Verdict.REPRODUCED, "paper")
    assert (reduced.verdict, reduced.scale) == (Verdict.REDUCED, "reduced")
    assert reduced.ours == "0.90 over 1"
    assert reduced.hardware == "a processor, 2 cores"


@pytest.mark.parametrize("scale", ["reduced", "paper"])
@pytest.mark.parametrize("rate", [0.1, math.nan])
def test_a_record_that_must_fail_the_check_fails_it(scale, rate):
    row = evaluate(a_claim(), Records([a_record(scale=scale, rate=rate)]))
    assert row.verdict is Verdict.NOT_REPRODUCED


def test_a_smoke_record_settles_nothing():
    assert evaluate(a_claim(), Records([a_record(scale="smoke")])).verdict is Verdict.NOT_RUN


def test_one_reduced_record_among_several_makes_the_row_reduced():
    row = evaluate(
        a_claim(),
        Records(
            [
                a_record(variant="a", scale="paper", seconds=3600.0),
                a_record(variant="a", scale="reduced", seconds=5.0, rate=0.0),
                a_record(variant="b", scale="reduced", seconds=1800.0),
            ]
        ),
    )
    assert row.verdict is Verdict.REDUCED
    assert [record.name for record in row.records] == ["music-a-paper", "music-b-reduced"]
    assert (row.scale, row.cost, row.ours) == ("reduced", "90.0 min", "0.90 over 2")


def test_variants_limit_what_a_claim_rests_on():
    kept = Records([a_record(variant="a", scale="paper"), a_record(variant="b", rate=0.0)])
    row = evaluate(a_claim(variants=("a",)), kept)
    assert (row.verdict, row.ours) == (Verdict.REPRODUCED, "0.90 over 1")
    assert evaluate(a_claim(variants=("a", "c")), kept).verdict is Verdict.NOT_RUN


def test_records_that_lack_a_metric_are_named():
    def lacking(found):
        return {"rate": found[0].results[0].metrics["absent"]}

    with pytest.raises(RecordError, match=r"P12-T1: music-reduced: lacks what .*'absent'"):
        evaluate(a_claim(measure=lacking), Records([a_record()]))


def test_not_measured_is_said_and_other_faults_are_not_hidden():
    def lacking(found):
        raise NotMeasured("no run without clipping")

    row = evaluate(a_claim(measure=lacking), Records([a_record()]))
    assert (row.verdict, row.ours) == (Verdict.NOT_RUN, "no run without clipping")

    def broken(found):
        return {"rate": 1 / 0}

    with pytest.raises(ZeroDivisionError):
        evaluate(a_claim(measure=broken), Records([a_record()]))


def test_mathematics_needs_no_record_and_costs_nothing():
    row = evaluate(mathematics(value=2.0), Records())
    assert (row.verdict, row.ours, row.cost) == (Verdict.REPRODUCED, "2.0", "< 1 s")
    assert row.hardware == "any CPU"
    assert row.record is None


def test_wrong_as_printed_needs_the_repair():
    repaired = mathematics(verdict=Verdict.WRONG, repair="Another statement.")
    assert evaluate(repaired, Records()).verdict is Verdict.WRONG
    with pytest.raises(ValueError, match="P12-E7: wrong as printed needs the repaired"):
        evaluate(mathematics(verdict=Verdict.WRONG), Records())


def test_a_check_must_return_plain_values_and_a_verdict():
    with pytest.raises(TypeError, match="x must be a plain value"):
        evaluate(mathematics(value=[1.0]), Records())
    with pytest.raises(TypeError, match="must return a Verdict"):
        evaluate(mathematics(verdict=True), Records())


def test_a_claim_that_cannot_be_checked_says_why():
    row = evaluate(a_claim(measure=None, judge=None, experiment=None, note="Words."), Records())
    assert row.verdict is Verdict.NOT_CHECKABLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "E7"}, "id must look like P12-E7"),
        ({"kind": "lemma"}, "kind must be one of"),
        ({"judge": None}, "measure and judge must come together"),
        ({"measure": None, "judge": None}, "needs a measure"),
        ({"measure": None, "judge": None, "experiment": None}, "must say why"),
        ({"experiment": None, "variants": ("a",)}, "variants belong to an experiment"),
    ],
)
def test_a_claim_whose_parts_contradict_each_other_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        a_claim(**change)


def test_verdicts_are_told_apart_by_mark_and_by_word():
    assert len({verdict.mark for verdict in Verdict}) == len(Verdict) == 7
    assert all(len(verdict.mark) == 1 for verdict in Verdict)
    assert Verdict.WRONG.slug == "wrong-as-printed"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.2, "< 1 s"), (1, "1 s"), (99.4, "99 s"), (99.5, "1.7 min"), (125, "2.1 min")),
        *((99.4 * 60, "99.4 min"), (2 * 3600, "2.0 h"), (100 * 3600, "100.0 h")),
    ],
)
def test_a_duration_is_said_as_a_reader_says_it(seconds, text):
    assert duration(seconds) == text


def test_inline_text_becomes_safe_html_with_math():
    assert ledger.inline(r"If $a<b$ then `x<y` & \$5") == (
        r'If <span class="math notranslate nohighlight">\(a&lt;b\)</span> then '
        "<code>x&lt;y</code> &amp; $5"
    )
    assert ledger.inline("<script>") == "&lt;script&gt;"
    assert ledger.inline("a\n  b") == "a b"


class _Rows(html.parser.HTMLParser):
    """Collects rows with their cells' labels and checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "col":
            return  # never closed
        self.open.append(tag)
        if tag == "tr":
            self.rows.append((dict(attributes), {}))
        elif tag == "td":
            self.label = dict(attributes)["data-label"]
            self.rows[-1][1][self.label] = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.rows[-1][1][self.label] += data


@pytest.fixture
def rows():
    kept = Records([a_record(scale="paper"), a_record(experiment="temporal_order", rate=0.1)])
    claims = [
        mathematics(statement="A law: $a<b$.", note="A `note`."),
        mathematics(id="P12-C6", verdict=Verdict.WRONG, repair=r"$\sigma>1$ & more."),
        a_claim(),
        a_claim(id="P12-F7", experiment="temporal_order"),
        a_claim(id="P12-T2", experiment="characters"),
        a_claim(id="P12-C19", measure=None, judge=None, experiment=None, note="Words."),
    ]
    return [evaluate(claim, kept) for claim in claims]


def test_the_page_has_a_linkable_row_for_each_claim(rows):
    page = ledger.render(rows)
    found = {
        attributes["id"]: (attributes, cells)
        for attributes, cells in _Rows(page).rows
        if "id" in attributes
    }
    assert list(found) == ["p12-e7", "p12-c6", "p12-t1", "p12-f7", "p12-t2", "p12-c19"]
    verdicts = [attributes["data-verdict"] for attributes, _ in found.values()]
    assert verdicts == [
        "reproduced",
        "wrong-as-printed",
        "reproduced",
        "did-not-reproduce",
        "not-yet-run",
        "not-checkable",
    ]
    attributes, cells = found["p12-t1"]
    assert attributes["data-paper"] == "p12"
    assert cells["Claim"] == "P12-T1 table, table 1"
    assert cells["Paper"] == "0.9"
    assert cells["Ours"] == "0.90 over 1"
    assert cells["Scale"] == "paper, 2 seeds"
    assert cells["Cost"] == "60\u00a0s"
    assert cells["Hardware"] == "a processor, 2 cores"
    assert cells["Verdict"] == "✓ reproduced"
    assert r"\(\sigma>1\) & more." in found["p12-c6"][1]["Statement"]
    assert "rnnlib run temporal_order --scale paper" in found["p12-f7"][1]["Statement"]
    assert "Reduced: 2 seeds" in found["p12-f7"][1]["Statement"]


def test_markdown_does_not_end_the_table_early(rows):
    (table,) = re.findall(r'<table class="ledger">.*?</table>', ledger.render(rows), re.DOTALL)
    assert "\n\n" not in table


def test_the_page_has_a_formula_that_brings_mathjax(rows):
    # Formulas inside raw HTML do not make Sphinx load MathJax; one in Markdown does.
    outside = re.sub(r"<table.*?</table>", "", ledger.render(rows), flags=re.DOTALL)
    assert re.search(r"\$\\\w+\$", outside)


def test_the_summary_counts_every_claim_once(rows):
    lines = [line.split("|")[2:4] for line in ledger.summary(rows).splitlines()[2:]]
    counts = {word.strip(): int(number) for word, number in lines}
    assert counts.pop("all claims") == len(rows) == sum(counts.values())
    assert counts["reproduced"] == 2
    assert counts["reproduced at reduced scale"] == 0


def test_embed_replaces_what_stands_between_its_lines(rows):
    page = f"before\n{ledger.BEGIN}\nold\n{ledger.END}\nafter\n"
    fresh = ledger.embed(page, rows)
    assert fresh.startswith("before\n")
    assert fresh.endswith("after\n")
    assert "old" not in fresh
    assert ledger.summary(rows) in fresh
    assert ledger.embed(fresh, rows) == fresh
    for bad in ("", ledger.BEGIN, ledger.END + ledger.BEGIN, page + page):
        with pytest.raises(ArgumentError, match="once each"):
            ledger.embed(bad, rows)


def test_the_chapters_table_links_to_the_page(rows):
    short = _Rows(ledger.chapter_ledger(rows)).rows
    assert len(short) == len(rows) + 1  # and the head
    assert 'href="ledger.html#p12-e7"' in ledger.chapter_ledger(rows)
    assert all("id" not in attributes for attributes, _ in short)


def test_find_knows_every_claim_and_names_the_nearest():
    for claims in papers().values():
        for claim in claims:
            assert find(claim.id.lower()) is claim
    with pytest.raises(ArgumentError, match=r"claim must be one of .* got 'P12-E77'; did you mean"):
        find("P12-E77")
    with pytest.raises(ArgumentError, match="paper must be one of"):
        of_paper("p99")


def test_ids_are_unique_and_belong_to_their_paper():
    everything = [claim for claims in papers().values() for claim in claims]
    assert len({claim.id for claim in everything}) == len(everything)
    for key, claims in papers().items():
        assert key in PAPERS
        assert {claim.paper_key for claim in claims} == {key}


@pytest.fixture(scope="module")
def present_rows():
    return ledger.evaluate_all(Records.load(default_folder()))


def test_the_committed_ledger_is_what_claims_and_records_give(present_rows):
    page = ROOT / "book" / "ledger.md"
    assert page.read_text(encoding="utf-8") == ledger.render(present_rows), (
        "book/ledger.md is out of date: run `rnnlib ledger --write book/ledger.md`"
    )


def test_the_summaries_in_other_pages_are_the_present_ones(present_rows):
    pages = [ROOT / "README.md", ROOT / "book" / "index.md"]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    holding = {name: text for name, text in texts.items() if ledger.BEGIN in text}
    assert "index.md" in holding
    for name, text in holding.items():
        assert text == ledger.embed(text, present_rows), (
            f"the summary in {name} is out of date: run `rnnlib ledger --write` with its path"
        )
