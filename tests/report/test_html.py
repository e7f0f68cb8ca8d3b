"""The HTML report is one file, offline, escaped, well formed, and says what was measured how."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import yaml

from classwise.configuration import to_yaml
from classwise.evaluation import compare_audits
from classwise.report.html import write_report
from classwise.runs import RunDirectory, checkpoints
from classwise.threat import ThreatModel, linf
from classwise.training import TrainConfig

VOID = {"meta", "br", "hr", "img", "input", "link"}
NASTY = ("<script>alert(1)</script>", "a & \"b\" 'c'", "_d", "</svg><img src=x>")


class Page(HTMLParser):
    """Reads a page: checks that tags are balanced, and keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and {"td", "th"} & set(self.open):
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def read(tmp_path):
    def write_and_read(**arguments) -> Page:
        path = write_report(tmp_path / "out" / "report.html", **arguments)
        assert [each.name for each in path.parent.iterdir()] == ["report.html"]
        return Page(path.read_text(encoding="utf-8"))

    return write_and_read


@pytest.fixture
def pair(make_audit):
    return make_audit("old"), make_audit("new", robust=tuple(np.linspace(0.6, 0.8, 10)), seed=1)


def test_first_screen_answers_the_question(make_audit, read):
    audit = make_audit("my net")
    text = read(audits=[audit]).text
    first = text.index("Weakest class: 0")
    assert first < text.index("Class by class")
    summary = text[first : text.index("Class by class")]
    worst = audit.worst
    assert "20.0 %" in summary
    assert f"[{100 * worst.low:.1f}, {100 * worst.high:.1f}]" in summary
    for estimate in (audit.mean, audit.gap, audit.table().overall("clean")):
        assert str(estimate) in summary
    assert "digits/test, n = 400, linf 8/255, pgd-20, seed 0, exact (fp32); 40 images of the weakest class" in summary


def test_class_table_holds_the_figures(make_audit, read):
    audit = make_audit(per_class=60)
    table = audit.table()
    cells = [cell.strip() for cell in read(audits=[audit]).cells]
    at = cells.index("3")
    assert cells[at : at + 6] == [
        "3",
        "60",
        "70.0",
        "40.0",
        f"[{100 * table.robust_low[3]:.1f}, {100 * table.robust_high[3]:.1f}]",
        "30.0",
    ]
    at = cells.index("All samples")
    assert cells[at : at + 4] == ["All samples", "600", "75.0", "50.0"]


def test_each_threat_has_a_panel(make_audit, read):
    page = read(audits=[make_audit(threats=(linf("4/255"), linf("8/255")))])
    assert page.count("svg") == 2
    for radius in ("4/255", "8/255"):
        assert f"digits/test, n = 400, linf {radius}, pgd-20, seed 0, exact (fp32)" in page.text


def test_audits_under_other_conditions_stand_apart(make_audit, pair, read):
    assert read(audits=pair).count("svg") == 1
    assert read(audits=[*pair, make_audit("old", threats=(linf("4/255"),))]).count("svg") == 2


def test_audits_of_the_same_name_are_told_apart(make_audit, read):
    text = read(audits=[make_audit("m"), make_audit("m", seed=1), make_audit("m", seed=2)]).text
    assert "m #2" in text
    assert "m #3" in text


def test_findings_come_before_the_paired_table(pair, read):
    comparison = compare_audits(*pair)
    page = read(audits=list(pair), comparison=comparison)
    text = page.text
    for sentence in comparison.findings():
        assert sentence in text
        assert text.index(sentence) < text.index("Robust accuracy before and after")
    cells = [" ".join(cell.split()) for cell in page.cells]
    at = cells.index("0 higher")
    assert cells[at : at + 5] == ["0 higher", "40", "20.0", "60.0", "+40.0"]


def test_audits_of_the_comparison_are_added_once(pair, read):
    comparison = compare_audits(*pair)
    assert read(audits=[], comparison=comparison).count("article") == 2
    assert read(audits=[pair[1]], comparison=comparison).count("article") == 2


def test_nothing_of_a_name_becomes_markup(make_audit, make_run, tmp_path):
    run = make_run("r & <b>", classes=4, moved=("weight",))
    weights = {"w": torch.zeros(1)}
    checkpoints.save(run.checkpoints.path(4), checkpoints.Checkpoint(weights, {}, {}, {"group_names": list(NASTY)}))
    run.checkpoints.point("last", 4)
    before, after = (make_audit("<i>net</i>", NASTY, seed=seed) for seed in (0, 1))
    path = write_report(
        tmp_path / "r.html",
        audits=[before, after],
        comparison=compare_audits(before, after),
        runs=[run],
        title="<b>T</b> & co",
    )
    raw = path.read_text(encoding="utf-8")
    page = Page(raw)
    assert raw.count("<script>") == 1
    assert "alert(1)</script>" not in raw
    assert "<i>" not in raw
    assert "<b>" not in raw
    assert page.count("script") == 1
    assert page.count("svg") == 4  # bars, and training, class and knob curves
    for name in NASTY:
        assert any(" ".join(cell.split()).startswith(name) for cell in page.cells)
        assert name in [text.strip() for text in page.texts]


def test_nothing_is_fetched_from_outside(pair, make_run, tmp_path):
    path = write_report(
        tmp_path / "r.html", audits=pair, comparison=compare_audits(*pair), runs=[make_run(moved=("label",))]
    )
    raw = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:", raw)
    assert "@import" not in raw
    assert not re.search(r"url\((?!#)", raw)
    page = Page(raw)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "a", "form"}
    for tag, attributes in page.tags:
        assert "srcset" not in attributes
        if "src" in attributes:
            assert tag == "img"
            assert attributes["src"].startswith("data:image/png;base64,")
        if "href" in attributes:
            assert attributes["href"].startswith("#")


def test_ids_are_unique(pair, make_run, read):
    page = read(audits=pair, runs=[make_run("a"), make_run("b", seed=1)])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_two_audits_one_comparison_two_runs(pair, make_run, read):
    runs = [make_run("first"), make_run("second", moved=("radius", "weight"), averaged=True)]
    page = read(audits=pair, comparison=compare_audits(*pair), runs=runs)
    assert page.count("svg") == 1 + 2 + 3
    assert "Training: first" in page.text
    assert "Selected averaged weights: after epoch 3" in page.text
    for run in runs:
        assert f"classwise train {run.path}/config.yaml --out NEW" in page.text


def test_configuration_and_environment_are_shown_in_full(make_run, tmp_path):
    run = make_run()
    raw = write_report(tmp_path / "r.html", audits=[], runs=[run]).read_text(encoding="utf-8")
    import html

    shown = html.unescape(re.search(r"<pre>(.*?)</pre>", raw, re.DOTALL).group(1))
    assert yaml.safe_load(shown) == yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    page = Page(raw)
    assert "2.6.0" in page.cells
    assert "None" not in page.cells


def test_a_folder_with_a_space_can_be_pasted(make_run, read):
    run = make_run("my run")
    assert f"classwise train '{run.path}/config.yaml' --out NEW" in read(audits=[], runs=[run]).text


def test_a_run_without_audit_says_so(make_run, read):
    text = read(audits=[], runs=[make_run()]).text
    assert "Not audited on test images yet" in text
    assert "digits/validation, n = 200, linf 8/255, pgd-10, seed 0, validation fp32" in text


def test_the_form_of_the_ball_is_told(make_run, read):
    run = make_run()
    threat = ThreatModel(radius="0.3", channels=(0.25, 0.5), box=False)
    config = TrainConfig(threat=threat, validation_radius="0.4")
    (run.path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert (
        "n = 200, linf 0.4 x (0.25, 0.5), no box, pgd-10, seed 0, validation fp32" in read(audits=[], runs=[run]).text
    )


def test_a_run_before_its_first_epoch(make_run, read):
    page = read(audits=[], runs=[make_run(epochs=0)])
    assert page.count("svg") == 0
    assert "0 epochs done" in page.text


def test_class_names_of_a_run_come_from_its_checkpoint(make_run, read):
    run = make_run(classes=2)
    weights = {"w": torch.zeros(1)}
    checkpoints.save(run.checkpoints.path(4), checkpoints.Checkpoint(weights, {}, {}, {"group_names": ["cat", "dog"]}))
    run.checkpoints.point("last", 4)
    assert "Weakest class on validation images: cat" in read(audits=[], runs=[run]).text


def test_examples_stand_beside_their_originals(make_audit, read):
    page = read(audits=[make_audit(pictures=3)])
    assert page.count("img") == 9
    assert "Broken images of the weakest class: 0" in page.text
    assert page.text.count("0 → 1") == 3
    assert "change is shown × 15" in page.text
    assert read(audits=[make_audit(pictures=0)]).count("img") == 0


def test_labels_of_groups_are_numbers(make_audit, read):
    from dataclasses import replace

    audit = make_audit(names=("left", "right"))
    outcomes = replace(audit.outcomes, group=1 - audit.outcomes.label)
    assert "class 0 → class 1" in read(audits=[replace(audit, outcomes=outcomes)]).text


def test_cautions_are_stated(make_audit, read):
    text = read(audits=[make_audit()]).text
    assert "at least one of them misses in up to 40 % of audits" in text  # 1 - 0.95 ** 10
    assert "no test of a difference" in text
    assert "upper limit" in text


def test_scrolling_parts_can_be_reached_by_keyboard(pair, read):
    page = read(audits=pair)
    scrolling = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
    assert scrolling
    assert all(each["tabindex"] == "0" and each["role"] == "region" and each["aria-label"] for each in scrolling)
    assert all("alt" in attributes for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")


def test_same_input_same_file(pair, tmp_path):
    first, second = (write_report(tmp_path / name, audits=pair).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_nothing_to_report(tmp_path):
    with pytest.raises(ValueError, match="at least one audit or one run"):
        write_report(tmp_path / "r.html", audits=[])
    with pytest.raises(ValueError, match="no run directory"):
        write_report(tmp_path / "r.html", audits=[], runs=[RunDirectory(tmp_path / "none")])
    assert not (tmp_path / "r.html").exists()


def test_method_of_an_audit_writes_the_same(make_audit, tmp_path):
    path = make_audit("net").report(tmp_path / "r.html")
    assert "net" in Page(path.read_text(encoding="utf-8")).text
