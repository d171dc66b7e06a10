"""What holds in every form and every network, by plain rules; and which settings belong side by side."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from tests.report.reports import FORMS, HELPS, HURTS, NONE, UNTOLD, beside, in_form, player, setting, six_forms
from vprdist.attribution.finished import PlayersByQuery
from vprdist.attribution.side_by_side import flat, network_names, side_by_side
from vprdist.attribution.verdict import verdict, verdicts
from vprdist.game.claims import player_effects
from vprdist.game.inference import Probed
from vprdist.spec.attribution import Form
from vprdist.store.queries import METRICS, Queries

CLAIMS = ("helps", "hurts", "raises", "lowers", "none", "untold", None)


def slowly(claims) -> str:
    """The rules of the issue, one by one."""
    if set(claims) == {"helps"} or set(claims) == {"hurts"}:
        return claims[0]
    if set(claims) in ({"raises"}, {"raises", "helps"}):
        return "raises"
    if set(claims) in ({"lowers"}, {"lowers", "hurts"}):
        return "lowers"
    if set(claims) & {"helps", "hurts", "raises", "lowers"}:
        return "depends"
    return "none" if "none" in claims else "untold"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_combination_of_claims_has_the_verdict_of_the_rules(count):
    for claims in itertools.product(CLAIMS, repeat=count):
        assert verdict(claims) == slowly(claims), claims


def test_a_class_that_helps_in_all_forms_but_one_is_rarely_said_to_help_in_every_form():
    """The stated error, without a correction for the number of forms: it is kept by the one form where nothing is."""
    rng, cluster, worlds = np.random.default_rng(5), np.arange(60), 400
    wrong = 0
    for _ in range(worlds):
        claims = []
        for effect in (0.5, 0.0, 0.5):
            real, placebo = (Probed(rng.normal(mean, 1.0, (1, 1, 60))) for mean in (effect, 0.0))
            claims.append(player_effects(real, {"random": placebo}, cluster, confidence=0.95).claims[0])
        wrong += verdict(claims) == "helps"
    assert wrong / worlds <= 0.05


def test_the_best_on_average_comes_first_and_a_player_may_be_missing():
    one = in_form("black", {"wall": HELPS, "sky": HURTS, "car": (0.2, "helps")})
    other = in_form("mean", {"wall": HELPS, "sky": (0.05, "helps")})
    told = {each.player: each for each in verdicts([one, other])}
    assert list(told) == ["car", "wall", "sky"]
    assert told["wall"].verdict == "helps" and not told["wall"].is_opposed
    assert told["sky"].verdict == "depends" and told["sky"].is_opposed
    assert told["car"].verdict == "depends", "it was not run in one form: nothing is said of every form"


def test_a_wide_interval_on_the_other_side_is_no_disagreement():
    one, other = in_form("black", {"sky": HELPS}), in_form("mean", {"sky": (-0.01, "none")})
    (told,) = verdicts([one, other])
    assert (told.verdict, told.is_opposed) == ("depends", False)


def test_one_form_makes_no_verdict_and_equal_forms_are_one():
    assert beside(in_form("black", {"sky": HELPS})).side_by_side == ()
    at_features = [in_form("features", {"sky": HELPS}, {"input.mask_fill": fill}) for fill in ("black", "mean")]
    assert beside(*at_features).side_by_side == (), "a filling that is not used makes no other form"
    (side,) = beside(in_form("black", {"sky": HELPS}), *at_features).side_by_side
    assert side.columns == ("black", "features") and side.settings == (0, 1)
    assert [row.num_forms for row in beside(in_form("black", {"sky": HELPS}), *at_features).settings] == [2, 2, 2]


def test_forms_are_compared_within_the_other_axes():
    keys = [{"network.unfreeze": layers} for layers in ("0-2", "all")]
    rows = [in_form(form, {"sky": HELPS}, more) for form in ("black", "blur") for more in keys]
    plain = setting([player("sky", 0.1, "helps")], named={"input.mode": "rgb+mask"})
    told = beside(*rows, plain)
    assert [(side.kind, side.columns, side.settings) for side in told.side_by_side] == [
        ("form", ("black", "blur"), (0, 2)), ("form", ("black", "blur"), (1, 3)),
        ("network", ("unfreeze 0-2", "unfreeze all"), (0, 1)), ("network", ("unfreeze 0-2", "unfreeze all"), (2, 3)),
    ]  # fmt: skip
    assert [side.shared for side in told.side_by_side] == [
        *keys,
        {"input.mask_fill": "black"},
        {"input.mask_fill": "blur"},
    ]
    assert [row.num_forms for row in told.settings] == [2, 2, 2, 2, 1]


def test_all_six_forms_have_their_names_and_a_reduction_where_several_were_run():
    (side,) = six_forms().side_by_side
    assert side.columns == ("black", "mean colour", "picture's mean", "blur", "noise", "features")
    rows = [
        in_form("black", {"sky": HELPS}).model_copy(
            update={"setting": {"input.mask_reduce": reduce}, "form": Form(reduce=reduce)}
        )
        for reduce in ("sum", "max")
    ]
    (side,) = beside(*rows, in_form("features", {"sky": HELPS})).side_by_side
    assert side.columns == ("black (sum)", "black (max)", "features (sum)")


def test_networks_are_named_by_what_differs():
    def named(*settings):
        return network_names([setting([player("sky", 0.1)], named=each) for each in settings])

    assert named({"network.backbone": "resnet18"}, {"network.backbone": "vgg16"}) == ("resnet18", "vgg16")
    whole = {"network": {"backbone": {"name": "timm", "model": "vit_small"}, "aggregator": "gem"}}
    file = {"network": {"backbone": {"name": "torchscript", "file": "/far/away/salad.pt"}, "aggregator": "gem"}}
    assert named(whole, file) == ("vit_small", "salad.pt")
    assert named({"network.unfreeze": "0-2"}, {}) == ("unfreeze 0-2", "usual")
    same = {"network": {"backbone": {"file": "/one/net.pt"}}}, {"network": {"backbone": {"file": "/two/net.pt"}}}
    assert named(*same) == ("net.pt 1", "net.pt 2")
    assert flat(file)["network.backbone.name"] == "torchscript"


def kept(values_SnQ: np.ndarray, players: tuple[str, ...], first: int = 0) -> PlayersByQuery:
    """Queries in clusters of three, named from `first` on."""
    count = values_SnQ.shape[-1]
    names, places = np.array([f"q{first + i}" for i in range(count)]), np.zeros(count)
    queries = Queries(
        subtask=np.full(count, "all"), city=np.full(count, "a"), query=names, view_direction=np.full(count, "F"),
        easting_m=places, northing_m=places, cluster=np.arange(count) // 3,
        metrics={name: np.zeros(count, np.float32) for name in METRICS},
    )  # fmt: skip
    return PlayersByQuery(players, Probed(values_SnQ.astype(np.float32)), queries)


PLAYERS = ("wall", "pole", "sky", "car")


def two_networks(num_seeds: int = 3, count: int = 300, gap: float = 0.2):
    """Two networks' players query by query: they differ in the last one by `gap`, on average."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=(num_seeds, 4, count)) * 0.2 + np.array([0.3, 0.2, 0.1, 0.0])[:, None]
    other = common + rng.normal(size=common.shape) * 0.05
    other[:, 3] += gap
    rows = []
    for name, values in (("a", common), ("b", other)):
        means = values.mean(axis=(0, 2))
        players = [player(each, float(mean), "none") for each, mean in zip(PLAYERS, means, strict=True)]
        rows.append(setting(players, named={"network.backbone": name}, num_seeds=num_seeds))
    return rows, [kept(common, PLAYERS), kept(other, PLAYERS)], (common, other)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_networks_differ_on_the_same_queries(num_seeds):
    rows, by_query, (common, other) = two_networks(num_seeds)
    (side,) = side_by_side(rows, by_query)
    (pair,) = side.pairs
    assert (side.kind, side.columns) == ("network", ("a", "b"))
    for place, name in enumerate(PLAYERS):
        told = pair.differences[name]
        assert told.value == pytest.approx(common[:, place].mean() - other[:, place].mean(), abs=1e-6)
        assert told.low is not None and told.high is not None and told.low < told.value < told.high
        apart = told.low > 0 or told.high < 0
        assert apart == (name == "car")
    order = [row.player for row in side.players]
    means = [[row.adds.value for row in sorted(each.players, key=lambda p: order.index(p.player))] for each in rows]
    assert pair.agreement.tau == pytest.approx(kendalltau(*means).statistic)
    assert pair.agreement.low <= pair.agreement.tau <= pair.agreement.high


def test_without_queries_kept_apart_the_order_is_told_and_no_interval():
    rows, (first, second), _ = two_networks()
    others = kept(second.probed.contributions, PLAYERS, first=1)
    fewer_seeds = kept(second.probed.contributions[:1], PLAYERS)
    for by_query in ([None, None], [first, None], [first, others], [first, fewer_seeds]):
        ((pair,),) = [side.pairs for side in side_by_side(rows, by_query)]
        assert pair.agreement.tau is not None and pair.agreement.low is None and pair.differences == {}
    few = [row.model_copy(update={"players": row.players[:2]}) for row in rows]
    ((pair,),) = [side.pairs for side in side_by_side(few, [None, None])]
    assert pair.agreement.tau is None, "two values have no order to speak of"


def test_forms_have_no_differences_and_players_in_any_order():
    _, (first, second), _ = two_networks()
    rows = [in_form(form, dict.fromkeys(names, NONE)) for form, names in (("black", PLAYERS), ("blur", PLAYERS[::-1]))]
    (side,) = side_by_side(rows, [first, second])
    (pair,) = side.pairs
    assert pair.differences == {} and pair.agreement.low is not None


def test_a_player_that_a_form_lacks_costs_the_pair_its_order():
    rows = [in_form("black", {"sky": HELPS, "car": NONE}), in_form("blur", {"sky": HELPS}),
            in_form("noise", {"sky": UNTOLD, "car": HURTS})]  # fmt: skip
    (side,) = beside(*rows).side_by_side
    assert [pair.columns for pair in side.pairs] == [("black", "noise")]


def test_steps_of_a_greedy_search_are_not_set_side_by_side():
    rows = [in_form(form, {"sky": UNTOLD}, taken=("sky",), method="greedy") for form in FORMS]
    assert beside(*rows).side_by_side == ()
