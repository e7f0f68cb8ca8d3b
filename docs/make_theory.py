"""Write ``docs/theory.md`` and the figures in ``docs/theory``: what the papers' models say, with every number computed.

No result in the sentences is typed: each comes by its name from a command or from Python that stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from theory_parts import FIGURES, Ran, figure, flow, shell, shown

PAGE = Path(__file__).parent / "theory.md"
DRAWN = ("frl-icml-figure2", "mixup-figure1", "mixup-figure2", "cfa-figure1", "frontier")
MODELS = ("frl-v1", "frl-icml", "mixup", "cfa", "faal")
DRAWS = "--samples 20000"
EXACT = "--samples 0"


def main() -> None:
    """Write the page and its figures."""
    FIGURES.mkdir(exist_ok=True)
    for name in DRAWN:
        (FIGURES / f"{name}.svg").write_text(figure(name).svg, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    return "\n\n".join(flow(section()) for section in SECTIONS) + "\n"


def introduction() -> str:
    """What the page is, and how to read it."""
    drawn = [row for name in MODELS for row in shown(f"{name} {DRAWS}").rows if row["simulated"]]
    inside = sum(float(row["low"]) <= float(row["corrected"]) <= float(row["high"]) for row in drawn)
    return f"""\
# The theory of the papers

Made by `docs/make_theory.py`. FRL, same-class mixup, CFA and FAAL each argue from a small model: two Gaussian classes, one
noisy feature, a ball of class weights. `classwise` computes these models exactly, sets the papers' formulas beside the right
ones, and checks the right ones by drawing points. This page says for each paper what is modelled, what holds and what does
not.

Every number below is printed by the command or by the lines of Python next to it. Tables show some of the rows that a
command prints. Other parameters are flags: `classwise theory show NAME --help` lists them with their ranges, and a number
out of range is refused with the reason. `--out FOLDER` writes a table as CSV with all digits and as an SVG picture;
`classwise theory list` names everything there is.

- **As printed** is the value of the paper's formula, misprints included; **corrected** is the right value, in closed form.
- **Simulated** is counted: points are drawn, each is moved by the worst perturbation and then classified, without any
  closed form on the way. Behind it stands its 95 % Wilson interval. The five commands with `{DRAWS}` give {len(drawn)}
  intervals, of which {inside} hold the right value. One in twenty misses in the long run; many rows of a table share their
  draws and miss together.
- **Assumed.** The papers leave many parameters open. The terminal marks what was assumed with a star and says why.
- **Does not hold** is said of a statement as printed. That a proof fails does not make its conclusion wrong: where another
  proof is at hand, the conclusion is among what holds.
- All of it is about these models. Networks and images are another matter, and only audits speak of them."""


def master() -> str:
    """The result that FRL and mixup are views of."""
    cases = Ran("""\
from classwise.theory.gaussian_mixture import GaussianPair


def tell(pair, radius=0.0):
    best = pair.best_linear(radius)
    errors = pair.errors(best, radius)
    print(f"{best.status}: error {errors.plus:.4f} in class +1, {errors.minus:.4f} in class -1")


tell(GaussianPair(theta=[0.6, 0.6, 0.6], sigma_plus=2, sigma_minus=1), radius=0.2)
tell(GaussianPair(theta=[0.5, 0.5], sigma_plus=2, sigma_minus=1), radius=0.8)
tell(GaussianPair(theta=[0.3], sigma_plus=2, sigma_minus=1, prior=0.8))
""")
    return f"""\
## The result behind FRL and mixup

Class +1 has the share `alpha` and is Gaussian around `mid + theta`, class -1 around `mid - theta`; every feature has the
standard deviation `sp` in class +1 and `sm` in class -1. A linear classifier answers `sign(<w, x> + b)`. Which one errs
least when every feature of a point may be moved by up to `eps`?

First the weights. For `w` of length 1, both class errors fall with `<w, theta> - eps |w|_1` and see nothing else of `w`.
So the best direction is the same whatever the shares and spreads are: take `eps` off every mean and drop the features whose
mean is smaller. What is left has the length `a`, the margin. Then the intercept trades one class for the other:

```text
v_i = sign(theta_i) max(|theta_i| - eps, 0)      a = |v|_2      w = v / a      L = ln(alpha sm / ((1 - alpha) sp))

                 2 g sp^2 sm^2 L + a^2 (sp^2 - sm^2)
c = ---------------------------------------------------------------      b = c - <w, mid>
    a (sp^2 + sm^2) + sp sm sqrt(4 a^2 + 2 g L (sm^2 - sp^2))

error of class +1 at radius r:  Phi((-c - <w, theta> + r |w|_1) / sp)
error of class -1 at radius r:  Phi(( c - <w, theta> + r |w|_1) / sm)
```

`g` is 1, except for same-class mixup, which trains on classes of `g` times the variance; `eps = 0` is natural training. At
the training radius the two arguments of `Phi` obey `z_+^2 - z_-^2 = 2 g L`: shares, spreads and mixup act through `L` and
`g` alone.

The formula has borders, and `classwise.theory.gaussian_mixture` watches them. Where the spreads are equal it stays exact,
while textbook forms divide 0 by 0. Where `eps` exceeds every mean, the best direction is a single feature, and with unequal
spreads a classifier of some use may remain. And with unequal shares one answer for every point may be best:

{cases}"""


def frl_arxiv() -> str:
    """FRL's first version."""
    shape = shown(f"frl-v1 {DRAWS}")
    wide = shown(f"frl-v1 --ratio 50 --d 20 --eta 0.2 --sigma 1 {EXACT}")
    eq_3, eq_5 = "natural training, error, class -1", "natural training, robust error, class -1"
    eq_8, flip = "robust training, error, class -1", "training, test radius of equal robust errors"
    wider, narrower = (shape[f"increase of the error, class {name}"] for name in ("+1", "-1"))
    table = shape.table("*error, class ?1", "*b / w_1", "increase*", "growth*", "Omega*", "*test radius*")
    return f"""\
## FRL, first version (arXiv)

**What is modelled.** Two equally frequent classes. `m` strong features have a mean `gamma` above the radius, `d` weak ones
a mean `eta` below it. Class +1 is `K` (`--ratio`) times as spread as class -1. Natural training finds the linear classifier
with the least clean error, robust training that with the least error at the radius `eps`; the test may have another radius,
`eps_0`.

{table}

**What holds.**

- Robust training gives weak features no weight at all (lemma 2). The printed proof reasons about errors below 1/2 only; the
  argument about directions above needs no such condition.
- The gap between the clean errors of the classes grows (corollary 1), for every `K > 1` and `eta <= eps < gamma`. Here the
  error of class +1 changes by {wider} and that of class -1 by {narrower}. The printed proof is not valid, but a short one
  exists: the gap falls with the length of the means in use, which is shorter without the weak features, and the lower
  intercept of robust training widens it further. So `Omega`, the gap after robust training over the gap before, is above
  1; here it is {shape["Omega"]}.
- Equations 4 and 6, on class +1 after natural training.

**What does not.**

- Equations 3 and 8 have `K` inside a root, where it belongs before it: {shape.printed(eq_3)} for {shape[eq_3]}, and
  {shape.printed(eq_8)} for {shape[eq_8]}. Equation 5 lacks a factor and gives {shape.printed(eq_5)} where {shape[eq_5]} is
  right. Equations 8 and 9 lack a shift by `eps`: without it they would be robust errors, not clean ones.
- The lower bound for `Omega` (equation 12) is none, whatever its constants. It grows without end with `K` and with the
  spread, while `Omega` goes to 1: for `K = 50` the bound is {wide.printed("Omega")} and `Omega` is {wide["Omega"]} (second
  table). For `K` near 1 the bound goes to 0 and says nothing, while `Omega` goes to
  {shape["Omega, limit for K to 1"]}. In the number of weak features the bound grows like a root, `Omega` exponentially.
- That the order of robust errors "will align to the clean errors" is true up to a test radius at which the classes change places,
  {shape["natural " + flip]} after natural training here and {shape["robust " + flip]} after robust training. Spread
  protects: an attack moves all points alike, and where they lie dense, more of them cross the border.
- The boundary error of equation 16 lacks "and answered right". As printed, clean and boundary error do not add up to the
  robust error: points that are wrong anyway count twice when they lie near the border.
- The exchange of single weights in the proof of lemma 1 can raise both errors. The lemma is right all the same, but for the
  ratio of intercept and weight.

{wide.table("Omega", "Omega, limit for K to 1")}"""


def frl_icml() -> str:
    """FRL's published version."""
    shape = shown(f"frl-icml {DRAWS}")
    small = shown(f"frl-icml --d 10 --eta 0.5 --ratio 2 --radius 0.2 --test-radius 0.1 --m 0 {EXACT}")
    weak = shown(f"frl-icml --d 1 --eta 0.55 --ratio 2 --m 100 --gamma 0.3 {EXACT}")
    wider, narrower = (shape[f"increase of the error, class {name}"] for name in ("+1", "-1"))
    fragile, tough = (shape[f"natural training, robust error, class {name}"] for name in ("-1", "+1"))
    growth = "with weak features, growth of the gap between the errors"
    price = "average error, robust over natural training"
    table = shape.table(
        "natural training, error*",
        "robust training, error*",
        "natural training, robust error*",
        "robust training, robust error*",
        "robust training, boundary*",
        "*intercept*",
        "increase*",
        "average*",
        "natural training, test radius*",
        "with weak features, increase*",
        "with weak features, growth*",
        "m gamma*",
    )
    borders = Ran("""\
from classwise.theory import frl_icml
from classwise.theory.gaussian_mixture import GaussianPair

classes = GaussianPair(theta=[1], times=[2], sigma_plus=1.5, sigma_minus=0.8, prior=0.7)
for radius in (0, 0.2, 0.4, 0.6):
    best = classes.best_linear(radius)
    print(f"radius {radius}: {best.status}, clean errors {abs(classes.errors(best).gap):.5f} apart")

narrow = dict(d=2, eta=0.6, ratio=0.5)
print("theorem 1, printed: {:.5f} in class +1, {:.5f} in class -1".format(*frl_icml.printed_theorem_1(**narrow)))
print("right:              {:.5f} in class +1, {:.5f} in class -1".format(*frl_icml.errors(**narrow)))
""")
    drawing = figure("frl-icml-figure2").place(
        "Two Gaussian classes in the plane, and the boundaries of natural and adversarial training"
    )
    return f"""\
## FRL, published version (ICML)

**What is modelled.** The same with strong features only: `d` of them with mean `eta`, above the radius. Weak features, of
mean `gamma` at most the radius, come back in appendix A.3. The defaults are the parameters of figure 2.

{table}

{drawing}

The logistic regression of the figure is that of infinitely many points, computed exactly. It is not the classifier of the
theorems, which has the least number of errors, yet the messages of the figure hold for it too: adversarial training raises
the clean error of class +1 and lowers that of class -1. The small networks were trained on points drawn, so their errors
scatter more than the intervals of one network say.

**What holds.**

- Theorems 1 and 2, for `K > 1` and `eps < eta`; so do both intercepts, and `b_rob < b_nat`.
- Corollary 1: robust training raises the clean error of the wide class, here by {wider}, and changes that of the narrow one
  by {narrower}; their signs are the same for every `K > 1`.
- Theorem 3: with weak features the gap grows as well, for any number of them.

**What does not.**

- "Each class's error will increase after adversarial training" (appendix A.3). That of class -1 does so only if the weak
  features carry enough:
  `m gamma^2` must exceed {shape["m gamma^2 above which both errors rise"]} in the first table. There it is 1, and the error
  changes by {shape["with weak features, increase of the error, class -1"]}.
- The proof of theorem 3 claims that the gap grows by more than a certain number. In the third table that number is
  {weak.printed(growth)}, more than a gap between probabilities can ever be; the gap grows by {weak[growth]}.
- `0 < b_rob` (section 3.2). Only `b_rob < b_nat` is true: in the second table `b_rob` is
  {small["robust training, intercept b for w = 1"]}.
- Adversarial training "will not significantly degrade the average standard error". It multiplies it by {shape[price]} in the first
  table and by {small[price]} in the second.
- Equation 7 defines boundary errors without "and answered right", as the first version does.
- Not stated, but needed: the classes must be equally frequent. With a share of 0.7 the clean gap below shrinks as the radius
  grows, until one answer for all is best. And for `K < 1` the printed theorem takes the intercept at which the error is at a
  maximum, so `classwise theory show frl-icml` refuses such a ratio, and the general result is used.
- Not claimed, but easily read into it: class +1 is not always the more fragile one. Attacked at radius 0.5, the naturally
  trained classifier of figure 2 errs on class -1 more often, {fragile} against {tough}. The classes change places at
  {shape["natural training, test radius of equal robust errors"]}.

{small.table("robust training, error*", "robust training, intercept*", "average*")}

{weak.table("with weak features, increase*", "with weak features, growth*", "m gamma*")}

{borders}"""


def mixup() -> str:
    """Same-class mixup."""
    shape = shown(f"mixup {DRAWS}")
    spreads = shown(
        f"mixup --mu-plus 0.9 --mu-minus 0.6 --sigma-plus 1.2 --sigma-minus 0.8 --prior 0.5 --radius 0 {EXACT}"
    )
    both = shown(f"mixup --d 2 --mu-plus 1 --mu-minus 1 --sigma-plus 1.5 --sigma-minus 0.8 --radius 0.3 {EXACT}")
    back = shown(
        f"mixup --d 1 --mu-plus 0.6 --mu-minus 0.6 --sigma-plus 1.5 --sigma-minus 0.5 --prior 0.75 --radius 0 {EXACT}"
    )
    far = shown(
        f"mixup --d 10 --mu-plus 1.5 --mu-minus 1.5 --sigma-plus 1.5 --sigma-minus 0.8 --prior 0.5 --radius 0 {EXACT}"
    )
    plain_gap, own_gap = "natural gap, plain", "natural gap, mixup, original data"
    plain_mean, own_mean = "natural average error, plain", "natural average error, mixup, original data"
    before, after = (f"adversarial training: natural gap, {each}" for each in ("plain", "mixup, original data"))
    plain = [shape[f"natural error, plain, class {name}"] for name in ("+1", "-1")]
    mixed = [shape[f"natural error, mixup, mixed data, class {name}"] for name in ("+1", "-1")]
    chain, offset = "natural least g for the chain of errors on mixed data", "natural offset t = b / w, mixup"
    share, effective = "prior at which plain training does what mixup does", "natural effective g of a random share"
    table = shape.table(
        "prior at*",
        "natural offset*",
        "natural error, plain*",
        "natural error, mixup*",
        "natural gap, [pm]*",
        "natural average*",
        "natural least*",
        effective,
        "adversarial gap, [pm]*",
        "adversarial average*",
    )
    drawings = [
        figure("mixup-figure1").place(
            "Class errors with and without same-class mixup, natural over the distance of the means, adversarial over the "
            "radius"
        ),
        figure("mixup-figure2").place(
            "Adversarial class errors with and without same-class mixup, over the distance of the means and over the number "
            "of features"
        ),
    ]
    return f"""\
## Same-class mixup

**What is modelled.** Two Gaussian classes of any shares and spreads. Training points are `lambda x + (1 - lambda) x'` with
`x'` of the same class, so every class keeps its mean, and its variance is multiplied by `g = lambda^2 + (1 - lambda)^2`.
The paper's theorems give errors **on mixed data**, which have less spread and are easier. Errors **on the original data**,
which a user would ask for, are added here.

{table}

**What holds.**

- The gap between the class errors shrinks, on mixed data and on the original data, after natural training and under the
  attack that was trained against; for every share and spread, as long as a plane between the classes is best. The exception
  is `L = 0`, as for equal shares and spreads: there the classes err alike already, and nothing is to shrink. On the original
  data the gap goes from {shape[plain_gap]} to {shape[own_gap]} here, without attack.
- Both propositions, and theorems 3 and 4 for equal spreads or a single feature. That class +1 errs less is true for a share
  above 1/2; below it the order is reversed.
- What mixup does has a plain name: reweighting. It multiplies `L` by `g` and leaves the weights alone, so it does what
  training with another share of class +1 does, here {shape[share]} in place of 0.7. The worse class improves, the better one
  loses, and the average error on the original data never falls: here it goes from {shape[plain_mean]} to {shape[own_mean]}.
- Where plain training ends with one answer for all points, mixup can bring a plane back. In the fourth table the gap goes
  from {back[plain_gap]} to {back[own_gap]}, and the average error from {back[plain_mean]} to {back[own_mean]}.

**What does not.**

- Theorems 3 and 4 for unequal spreads and several features: a factor `d` is missing. In the second table the printed offset
  is {spreads.printed(offset)}, and {spreads[offset]} is right.
- The gaps in the remarks: a term that both errors share is dropped, which gives {shape.printed(plain_gap)} for
  {shape[plain_gap]} after plain training.
- The chain of remark 2, both mixed errors between the plain ones. It needs a `g` of at least {shape[chain]} here, while `g`
  is never above 1; the printed bound is {shape.printed(chain)}. On mixed data the chain can hold only where the worse class
  is wrong at least half of the time. Otherwise both mixed errors lie below the plain ones, as they do here: {mixed[0]} and
  {mixed[1]} against {plain[0]} and {plain[1]}.
- That disparities shrink "for both natural and adversarial risks" is not general. After adversarial training, with unequal
  spreads and shares, the natural gap can grow: from {both[before]} to {both[after]} in the third table.

**A random share.** The paper fixes `lambda`. A random one, uniform on [0, 1] here, does less the further the classes lie
apart: it acts like one fixed `g`, {shape[effective]} in the first table and {far[effective]} in the last; 1 would be no
mixup.

{spreads.table("natural offset*", "natural gap, [pm]*")}

{both.table("adversarial training:*")}

{back.table(plain_gap, own_gap, "natural average*")}

{far.table(effective)}

**Figures.** The paper states no parameters, so heights need not be those of its curves. The curves on the original data are
added here.

{drawings[0]}

{drawings[1]}"""


def cfa() -> str:
    """CFA's noisy feature."""
    shape = shown(f"cfa {DRAWS}")
    below = shown(
        f"cfa --p-minus 0.6708 --d 15 --eta 0.2137 --variance 1.2 --radius 0.1133 --w 5.84 --step 0.33 {EXACT}"
    )
    own = [shape[f"best w of class {name}, natural"] for name in ("+1", "-1")]
    without = [shape[f"clean accuracy at the best w, no bias, class {name}"] for name in ("+1", "-1")]
    with_bias = [shape[f"clean accuracy at the best w and bias, class {name}"] for name in ("+1", "-1")]
    loses = below["change of robust accuracy from w = 5.84 to 6.17, class -1"]
    attacked = Ran("""\
from classwise.theory.noisy_feature import NoisyFeature

model, radii = NoisyFeature(p_plus=0.6, p_minus=0.55, eta=0.4, sigma=1.0, d=10), [0.0, 0.04, 0.1, 0.2, 0.35]
print("training radius                ", *(f"{each:7.2f}" for each in radii))
print("best w, first feature spared   ", *(f"{each:7.4f}" for each in model.best_weight(radii)))
print("best w, first feature moved too", *(f"{each:7.4f}" for each in model.best_weight(radii, first_attackable=True)))
""")
    table = shape.table("*accuracy, class*", "*accuracy, first*", "best w of*", "change of*", "clean accuracy at*")
    drawing = figure("cfa-figure1").place("Points of CFA's model, and clean and robust accuracy of both classes over w")
    return f"""\
## CFA

**What is modelled.** The first feature is the label with probability `p_+` in class +1 and `p_-` in class -1, and its
opposite otherwise; `d` weak features are Gaussian around `eta` times the label. The classifier is
`sign(x_1 + (x_2 + ... + x_(d+1)) / w)`: a large `w` trusts the first feature. The paper's attack moves the weak features
only; here it may move the first one too. Numbers are accuracies, as in the paper.

{table}

{drawing}

**What holds.** All four theorems, in the paper's convention.

- The class with the better first feature is the better one for every `w`, clean and attacked (theorem 1), also where the
  attack moves the first feature.
- The best `w` grows with the training radius, and from `eps = eta` on only the first feature counts (theorem 2).
- Class +1 is best at a larger `w` than class -1, {own[0]} against {own[1]} (theorem 3).
- Beyond the best `w` of class +1, a larger one costs class -1 more clean accuracy than class +1; at `eps = 2 eta` it gives
  class +1 more robust accuracy (theorem 4). That class +1 comes off better is true from any `w` on and at any radius.

**What does not.**

- Theorem 2 needs the first feature to be spared. Where the attack moves it too, the best `w` may fall with the radius, reach
  0, at which only weak features count, and then jump to infinity:

{attacked}

- That both robust accuracies rise with `w`, as theorem 4 says at `eps = 2 eta`, is true from `eps = eta` on, but not below.
  In the second table a step of `w` changes the robust accuracy of class -1 by {loses}.
- The classifiers have no intercept, and that makes a good part of the gap. With one, the accuracies of class +1 and -1 at
  the best `w` are {with_bias[0]} and {with_bias[1]} in place of {without[0]} and {without[1]}.

{below.table("change of robust*")}"""


def faal() -> str:
    """FAAL's theorem."""
    shape = shown(f"faal {DRAWS}")
    ten = shown(f"faal --losses 1 0 0 0 0 0 0 0 0 0 --shares 0.6 0.4 0 0 0 0 0 0 0 0 --tau 0.5 --n 5 {EXACT}")
    missed = shape["probability that the worst-case loss around the drawn shares misses the true loss"]
    outside = "probability that the true shares lie outside the ball around the drawn ones"
    worst, true = ten["L_FAAL: worst-case loss around uniform weights"], ten["loss under the true shares"]
    solver = Ran("""\
from classwise.theory import attainable_range, optimality_gap, worst_case_weights
from classwise.theory.kl_coverage import labels_needed

weights = worst_case_weights([0.2, 0.3, 0.5, 0.9], 0.5)
print("worst-case weights", *(f"{each:.4f}" for each in weights))
print("short of the optimum by less than 1e-12:", optimality_gap([0.2, 0.3, 0.5, 0.9], weights, 0.5) < 1e-12)
print("10 classes, tau 0.5: weights from {:.5f} to {:.4f}".format(*attainable_range(10, 0.5)))
for classes, tau in ((10, 0.5), (100, 0.05)):
    print(f"{classes} classes, tau {tau}: the bound is below 1 from {labels_needed(classes, tau)} labels on")
""")
    return f"""\
## FAAL

**What is modelled.** Each class has a loss, and the class weights are the worst ones within a radius `tau` of uniform
weights, in Kullback-Leibler divergence. Theorem 1 promises that the loss under these weights, L_FAAL, exceeds the actual loss
with a probability that goes to 1 with the number `n` of samples. Here the actual loss is that under the true class shares, and
`n` labels are drawn from these.

{shape.table()}

**What holds.**

- The weights exist, are unique unless all losses are equal, and no class loses all of its weight. Training computes them with
  the function below, which has a certificate of how far its answer can be from the best one:

{solver}

- A theorem like the printed one. Draw `n` labels, put the ball around the shares of the classes among them, and take the
  worst-case loss there. It misses the loss under the true shares with probability at most `(n + 1)^C exp(-n tau)`. The exact
  probability, from all outcomes of the draw, is {missed} in the table.

**What does not.**

- The printed theorem. L_FAAL's ball lies around uniform weights, and nothing in it is drawn: for given losses the event is
  certain or impossible, whatever `n` is. Against the plain mean it is certain, unless all losses are equal. Against the true
  shares it may be impossible: in the second table one class of ten has loss 1 and a share of 0.6, and L_FAAL is {worst},
  below {true}.
- The exponent. `O(n)` may exceed `tau n`, and then the bound says nothing. Left out altogether it says too much: the
  true shares lie outside the ball with probability {shape[outside]}, and `exp(-n tau)` is {shape.printed(outside)}.
- The right bound needs many labels before it says anything (last lines above): more than a batch has when there are a hundred
  classes and the ball is small.

{ten.table("L_FAAL*", "plain*", "loss under*")}"""


def frontier() -> str:
    """The trade between average and worst class."""
    run = Ran("""\
from classwise.theory import attainable_range, frl_arxiv
from classwise.theory.frontier import frontier, method_points

classes, radius = frl_arxiv.pair(m=4, gamma=1.0, d=100, eta=0.1, ratio=2.0, sigma=1.5), 0.4
curve = frontier(classes, radius, points=5)
print("frontier, worst class", *(f"{each:.4f}" for each in curve.worst))
print("frontier, average    ", *(f"{each:.4f}" for each in curve.average))
methods = method_points(classes, radius, weights=(1.4, 1.0), tau=0.01)
for name, at in methods.items():
    above = max(float(at.excess), 0)
    print(f"{name:17}  worst class {at.worst:.4f}  average {at.average:.4f}  above the frontier {above:.4f}")
for tau in (0.01, 0.5):
    print(f"weights within tau = {tau}: " + "{:.4f} to {:.4f}".format(*attainable_range(2, tau)))
""")
    methods = run.names["methods"]
    average = {name: f"{at.average:.4f}" for name, at in methods.items()}
    worst = {name: f"{at.worst:.4f}" for name, at in methods.items()}
    return f"""\
## What can be traded: the average against the worst class

Which average error is possible when no class may be worse than a given level? For Gaussian classes and linear classifiers
the answer is exact. Along the best direction one class loses what the other gains, and to every classifier off that direction
there is one on it that is better in both classes. So all that is possible lies on or above one curve. Below it is computed for
the classes of FRL's first version under attack at radius 0.4, with the places of the methods' linear solutions.

{run}

- Shares of the classes, thresholds, class weights, mixup and a ball of weights move the threshold and nothing else. After
  robust training they are walks along the curve, as long as they stay between its ends: adversarial training, with the least
  average ({average["adversarial"]}) and a worst class of {worst["adversarial"]}, and equal errors, {worst["equal errors"]} in both
  classes.
- A wrong direction loses on both counts. Natural training uses weak features, which the attack turns against it, and has an
  average of {average["natural"]}. Moving its threshold does not mend that; with mixup the average is {average["natural mixup"]}.
- Class-wise radii, larger for the class that is better as CFA chooses them, walk the other way, past the end of the curve: a
  larger radius in training protects its own class. The worst class has {worst["class-wise radii"]} and the average is
  {average["class-wise radii"]}. This is about linear classifiers; what such radii do to a network, only audits tell.
- TRADES lowers natural error plus `beta` times boundary error. With errors in place of its smooth loss, one answer for all
  points has no boundary error at all, and for `beta = 6` it is best here: an average of {average["TRADES"]}.
- Several roads lead to the same place. Equal errors are what class weights in the ratio `sp : sm` give, here `2 : 1`, and a ball
  that allows these weights (FAAL's `tau = 0.5` does) stops there too. The weights and the ball above are smaller.
- What the curve is not: networks have other directions and bent borders, and training sees samples instead of a distribution.
  FAAL stands here with the class error in place of its margin, FRL with its constraint on robust errors only.

{figure("frontier").place("Average against worst-class robust error: the frontier and where the methods stand")}"""


def data() -> str:
    """Data sets with known truth."""
    run = Ran("""\
import classwise as cw

for name, source, radius in (
    ("gaussian-pair", cw.data.GaussianPairData(eta=0.5, d=10, ratio=2.0), 0.2),
    ("noisy-feature", cw.data.NoisyFeatureData(), 0.1),
    ("planted", cw.data.PlantedImages(), 0.1),
):
    eps = radius * source.unit
    for told, errors in (
        ("best without attack, clean:", source.exact_errors(0)),
        (f"best at radius {radius}, clean:", source.exact_errors(0, trained_radius=eps)),
        (f"best at radius {radius}, attacked:", source.exact_errors(eps)),
    ):
        print(f"{name:14}{told:30}", *(f"{each:.4f}" for each in errors))
""")
    command = (
        "classwise train digits-faal --use data=planted --use model=small-cnn --threat.radius 0.006 --out runs/planted"
    )
    return f"""\
## Data sets with known truth

The models are data sets too, so that any method can be trained on them and held against what is attainable: `gaussian-pair`
(FRL and mixup), `noisy-feature` (CFA; the attack moves the first feature too, as it would in images) and `planted` (small
images of pairs of classes, each as hard as it is made). [data.md](data.md) describes them. The class errors of the best linear
classifier, for `planted` of the best one that is linear within each pair, need no training:

{run}

The first two lines are theorems 1 and 2 of FRL with the parameters of the second table of that section. "Best" means the least
average: another classifier may be better in one class and worse in the other.

{shell(command)}"""


def explain() -> str:
    """The experimental bridge to audited runs."""
    commands = shell(
        "classwise train digits-pgd-at --out runs/at",
        "classwise audit runs/at --radius 0.1",
        "classwise theory explain runs/at",
    )
    return f"""\
## From the models to a network: `explain` (experimental)

The papers prove things about Gaussian classes and then train networks. Whether the one explains the other can be looked at:
`explain` fits Gaussians to what the last linear layer of an audited network is given, predicts class errors from them, and
sets these beside the errors that the audit counted.

{commands}

For every class it prints the measured error with its interval, the predicted one and whether it lies inside; how far the
features are from normal along the directions that decide; and a verdict: the model fits well, fits in part, or does not fit.
Each half of the images of a class is predicted from the other half. Nothing is trained or chosen by them.

A good fit means that for this network, these images and this attack the class errors follow from means and spreads of
features along a few directions. It does not carry the theorems above over to the network: an attack moves its features one
image at a time, not all alike. A bad fit means that they do not follow, and is a result as well. Read the width of the
intervals, which the output tells: wide ones forgive much. Nothing is claimed here about networks in general."""


SECTIONS: tuple[Callable[[], str], ...] = (
    introduction,
    master,
    frl_arxiv,
    frl_icml,
    mixup,
    cfa,
    faal,
    frontier,
    data,
    explain,
)

if __name__ == "__main__":
    main()
