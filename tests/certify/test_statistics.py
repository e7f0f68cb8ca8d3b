"""Bounds, radii and answers of one sample; what the stopping rules do to the level."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from classwise.configuration import replace
from classwise.evaluation.smoothing import ABSTAIN, Sampling, bound, certified_radius, predict
from classwise.metrics import clopper_pearson_bounds


@pytest.fixture(scope="module")
def fixture(shared: Path) -> dict[str, list]:
    return json.loads((shared / "fixtures/methods/smoothing.json").read_text())


def naive(sampling: Sampling, look: int, hits: np.ndarray) -> np.ndarray:
    """The fixed-n bound, looked at too early: whether it allows a certificate of the radius `enough` now."""
    low, _ = clopper_pearson_bounds(hits, sampling.schedule[look], sampling.alpha, sampling.alpha)
    return certified_radius(low, float(sampling.sigma)) >= float(sampling.enough)


def chance_of_error(sampling: Sampling, probability: float, peeking: bool = False) -> float:
    """Exact probability that a certificate claims more than `probability`: binomials, look by look, no sampling."""
    truth = float(certified_radius(probability, float(sampling.sigma)))
    going, before, error = np.ones(1), 0, 0.0
    for look, now in enumerate(sampling.schedule):
        going = np.convolve(going, stats.binom.pmf(np.arange(now - before + 1), now - before, probability))
        hits, before = np.arange(now + 1), now
        if peeking:
            done = naive(sampling, look, hits)
            wrong = done & (float(sampling.enough) > truth)
        else:
            verdict = sampling.judge(look, hits)
            done, wrong = verdict.done, verdict.certified & (probability < 0.5) | (verdict.radius > truth)
            assert not (verdict.certified & ~verdict.done).any()
        error += float(going[done & wrong].sum())
        going = np.where(done, 0, going)
    return error


RULES = {
    "never": Sampling(sigma=0.5, n=256, alpha=0.05),
    "abstain": Sampling(sigma=0.5, n=256, alpha=0.05, stop="abstain"),
    "split-alpha": Sampling(sigma=0.5, n=256, alpha=0.05, stop="split-alpha", enough=0.1),
}


def test_lower_bounds_agree_with_the_fixture(fixture: dict[str, list]) -> None:
    rows = np.array(fixture["lower_bound_k_n_alpha_value"])
    assert len(rows) > 40
    low, _ = clopper_pearson_bounds(rows[:, 0], rows[:, 1], rows[:, 2], 0.5)
    assert np.abs(low - rows[:, 3]).max() < 1e-9


def test_certificates_and_answers_agree_with_the_fixture(fixture: dict[str, list]) -> None:
    cases = fixture["certify"]
    assert {case["prediction"] == -1 for case in cases} == {True, False}
    for case in cases:
        votes = np.array(case["counts_estimation"])
        sampling = Sampling(sigma=case["sigma"], n=int(votes.sum()), alpha=case["alpha"])
        top = np.array([np.argmax(case["counts_selection"])])
        found = bound(sampling, top, lambda rows, copies, votes=votes, top=top: votes[top[rows]])
        assert found.prediction.tolist() == [case["prediction"]]
        assert abs(found.radius[0] - case["radius"]) < 1e-9
        assert found.votes.tolist() == [votes.sum()]
        assert predict(votes, case["alpha"]) == case["predict_only"]


def test_the_radius_is_a_normal_quantile() -> None:
    probability = np.array([0.0, 0.3, 0.5, 0.6, 0.9, 0.999])
    expected = [0, 0, 0, *(0.25 * stats.norm.ppf(p) for p in (0.6, 0.9, 0.999))]
    assert np.allclose(certified_radius(probability, 0.25), expected, atol=1e-12)
    assert certified_radius(np.float64(0.9), 0.5) == pytest.approx(2 * certified_radius(np.float64(0.9), 0.25))


def test_the_answer_is_a_two_sided_binomial_test() -> None:
    for first, second in [(1, 0), (5, 5), (8, 1), (60, 40), (70, 30), (501, 499), (600, 400), (11, 0)]:
        p_value = stats.binomtest(first, first + second, 0.5).pvalue
        for alpha in (0.001, 0.05, 0.9):
            expected = 2 if p_value <= alpha else ABSTAIN
            assert predict([0, second, first], alpha) == expected
    assert predict([[3, 900, 4], [500, 499, 1]], 0.001).tolist() == [1, ABSTAIN]


def test_the_schedule_rises_to_all_votes() -> None:
    assert RULES["never"].schedule == (256,)
    assert RULES["abstain"].schedule == (1, 4, 16, 64, 256)
    assert replace(RULES["abstain"], n=100_000).schedule == (390, 1562, 6250, 25_000, 100_000)
    assert replace(RULES["abstain"], n=10).schedule == (2, 10)
    split = RULES["split-alpha"]
    assert math.isclose(split.level * len(split.schedule), split.alpha)
    assert math.isclose(replace(split, n=10).level * 2, split.alpha)


@pytest.mark.parametrize("name", RULES)
def test_no_rule_claims_too_much_more_often_than_alpha(name: str) -> None:
    rule = RULES[name]
    grid = np.concatenate([np.linspace(0.3, 0.999, 150), [0.4999, 0.5, 0.5001]])
    errors = [chance_of_error(rule, p) for p in grid]
    assert max(errors) <= rule.alpha
    assert max(errors) > 0.2 * rule.alpha  # the rule is not idle


def test_peeking_at_the_fixed_bound_does_not_keep_the_level() -> None:
    rule = RULES["split-alpha"]
    just_below = stats.norm.cdf(float(rule.enough) / float(rule.sigma)) - 1e-6
    assert chance_of_error(rule, just_below) <= rule.alpha
    assert chance_of_error(rule, just_below, peeking=True) > 1.5 * rule.alpha
    # The more looks, the worse.
    many = replace(rule, n=2**14, looks=8)
    assert chance_of_error(many, just_below) <= rule.alpha
    assert chance_of_error(many, just_below, peeking=True) > 2 * rule.alpha


@pytest.mark.parametrize("name", RULES)
def test_simulated_errors_stay_below_alpha(name: str) -> None:
    rule, size = replace(RULES[name], n=1024), 40_000
    generator = np.random.default_rng(5)
    probability = np.where(np.arange(size) % 2, 0.499, 0.579)  # just below 1/2, and just below the radius 0.1
    draw = lambda rows, copies: generator.binomial(len(copies), probability[rows])  # noqa: E731
    found = bound(rule, np.full(size, 3), draw)
    truth = certified_radius(probability, float(rule.sigma))
    wrong = (found.prediction == 3) & ((probability < 0.5) | (found.radius > truth))
    for half in (wrong[::2], wrong[1::2]):
        assert half.mean() <= rule.alpha + 4 * math.sqrt(rule.alpha * (1 - rule.alpha) / len(half))
        assert half.any()
    assert set(found.votes.tolist()) <= set(rule.schedule)


def test_stopping_to_abstain_only_takes_certificates_away_and_saves_votes() -> None:
    fixed, early = replace(RULES["never"], n=4096), replace(RULES["abstain"], n=4096)
    probability = np.repeat([0.2, 0.45, 0.5, 0.55, 0.9], 400)
    hits = np.random.default_rng(6).random((len(probability), 4096)) < probability[:, None]
    draw = lambda rows, copies: hits[rows, copies.start : copies.stop].sum(1)  # noqa: E731
    whole, cut = (bound(rule, np.zeros(len(probability), np.int64), draw) for rule in (fixed, early))
    kept = cut.prediction != ABSTAIN
    assert (whole.votes == 4096).all()
    assert np.array_equal(cut.radius[kept], whole.radius[kept])
    assert (whole.prediction[kept] != ABSTAIN).all()
    assert (cut.votes[kept] == 4096).all()
    assert cut.votes[probability == 0.2].mean() < 0.05 * 4096
    assert kept[probability == 0.9].all()
    assert np.array_equal(cut.hits, [row[:n].sum() for row, n in zip(hits, cut.votes, strict=True)])


def test_split_alpha_ends_as_soon_as_the_radius_is_enough() -> None:
    rule = Sampling(sigma=0.25, n=100_000, stop="split-alpha", enough=0.25)
    draw = lambda rows, copies: np.array([0.99, 0.2, 0.6])[rows] * len(copies)  # noqa: E731
    found = bound(rule, np.array([7, 8, 9]), draw)
    assert found.prediction.tolist() == [7, ABSTAIN, 9]
    assert found.votes.tolist() == [390, 390, 100_000]
    low, _ = clopper_pearson_bounds(found.hits[0], 390, 0.001 / 5, 0.5)
    assert found.radius[0] == certified_radius(low, 0.25) >= 0.25
    assert 0 < found.radius[2] < 0.25


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sigma": 0}, "sigma must be above 0"),
        ({"n0": 0}, "must be at least 1"),
        ({"n": 0}, "must be at least 1"),
        ({"looks": 0}, "must be at least 1"),
        ({"alpha": 0.5}, "alpha 0.5 must lie between"),
        ({"stop": "split-alpha"}, "set enough"),
        ({"stop": "peek"}, "stop 'peek' is not known"),
        ({"enough": 0.5}, "has no effect with stop 'never'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**{"sigma": 0.25, **fields})
