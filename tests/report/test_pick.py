import pytest

from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.headings import sheet_of
from paretovit.report.pick import Condition, pick
from paretovit.store import arrange

DEVICES = ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090 D", "AMD EPYC, 2 cores")


def row(indicator: str, **conditions) -> Measurement:
    return Measurement(
        model="vit",
        indicator=indicator,
        unit="1" if indicator == "top1" else "s",
        value=1.0,
        conditions=Conditions(spec="vit", **conditions),
        origin=Origin(how="measured"),
    )


ROWS = [*(row("latency_s", device=device) for device in DEVICES), row("macs"), row("macs", source="a paper")]
SHEET = sheet_of(arrange(ROWS))


def picked(indicator: str, *where: str) -> Conditions:
    return pick(SHEET, indicator, [Condition.of(words) for words in where]).column.conditions


@pytest.mark.parametrize(
    ("pattern", "device"),
    [
        ("NVIDIA GeForce RTX 4090", DEVICES[0]),  # equal goes before containing
        ("4090 d", DEVICES[1]),
        ("amd*cores", DEVICES[2]),
    ],
)
def test_a_condition_is_met_by_what_is_equal_or_contains_it(pattern, device):
    assert picked("latency_s", f"device={pattern}").device == device


def test_what_does_not_state_a_condition_passes_but_what_does_goes_first():
    assert picked("macs", "source=paper").source == "a paper"
    assert picked("latency_s", "source=paper", "device=EPYC").source is None


def test_an_empty_pattern_is_for_what_is_not_stated():
    assert picked("macs", "source=").source is None


def test_a_condition_for_one_indicator_replaces_that_for_all():
    assert picked("latency_s", "device=EPYC", "latency_s.device=4090 D").device == DEVICES[1]
    assert picked("latency_s", "device=EPYC", "macs.device=4090 D").device == DEVICES[2]


def test_mixed_conditions_are_refused_with_what_differs_and_how_to_choose():
    with pytest.raises(UserError) as refused:
        picked("latency_s", "device=NVIDIA*")
    said = str(refused.value)
    assert "one column must not mix: device (NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 4090 D)" in said
    advice = said.partition("--where latency_s.device=")[2].strip("'")
    assert picked("latency_s", f"latency_s.device={advice}").device == advice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("device", "is no condition; write it like"),
        ("devise=cpu", "unknown condition 'devise'; did you mean device"),
        ("device=Cray", "no latency_s was taken under device='Cray'; there is device"),
    ],
)
def test_a_condition_that_nothing_meets_or_that_is_none_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        picked("latency_s", words)


def test_an_unknown_indicator_is_answered_with_the_near_ones():
    with pytest.raises(UserError, match="did you mean latency_s"):
        picked("latency")


def published(data: str) -> Measurement:
    return row("top1", data=data, source=f"a table of {data}")


def test_a_published_accuracy_is_that_on_imagenet_1k_unless_somebody_says_otherwise():
    sheet = sheet_of(arrange([published(data) for data in ("ImageNetV2", "ImageNet-1k", "ImageNet-A")]))
    assert pick(sheet, "top1").column.conditions.data == "ImageNet-1k"
    assert pick(sheet, "top1", [Condition("data", "ImageNet-A")]).column.conditions.data == "ImageNet-A"
    assert pick(sheet, "top1", [Condition("source", "V2", "top1")]).column.conditions.data == "ImageNetV2"


def test_what_was_trained_here_is_not_passed_over_for_what_was_published():
    sheet = sheet_of(arrange([row("top1", data="digits"), published("ImageNet-1k"), published("ImageNet-A")]))
    with pytest.raises(UserError, match=r"choose, such as --where top1.data='digits'"):
        pick(sheet, "top1")


def test_of_others_than_the_usual_it_proposes_the_first():
    sheet = sheet_of(arrange([published("ImageNet-A"), published("pets")]))
    with pytest.raises(UserError, match=r"choose, such as --where top1\.data=.ImageNet-A."):
        pick(sheet, "top1")
