"""What a plan will cost on this machine, before it is carried out."""

from __future__ import annotations

from collections.abc import Callable

from classwise.attacks import attack_list
from classwise.configuration import to_yaml
from classwise.data import Roles
from classwise.data.roles import roles_of
from classwise.evaluation.certify import every_kth
from classwise.evaluation.smoothing import Sampling
from classwise.experiments.plan import Plan
from classwise.perturbation import NoPerturbation
from classwise.runs import RunDirectory
from classwise.training import TrainConfig
from classwise.training.estimate import forecast, seconds_per_pass, spoken

Clock = Callable[[TrainConfig, Roles], float]


def cost(made: Plan, clock: Clock = seconds_per_pass) -> str:
    """A sentence: how many trainings, audits and certifications are to be done, and about how long they take.

    One training of each network and data set is timed, the others are counted in passes through it. Perturbing the weights
    counts one more pass in every eight, an audit as if every image withstood every attack, so that audits take less.

    Args:
        made: The plan; finished trainings are not counted, audits and certifications all are.
        clock: Seconds of one image's pass; given in tests.
    """
    per_pass: dict[str, float] = {}
    roles: dict[str, tuple[Roles, int, int]] = {}
    training = audits = certificates = 0.0
    trainings = asked = wanted = 0
    for network in made.networks:
        config = made.config(network)
        problem = to_yaml(config.data) + to_yaml(config.split)
        if problem not in roles:
            data = config.data.load()
            test = data.test.first_per_class(made.size.per_class) if made.size.per_class else data.test
            roles[problem] = roles_of(data, config.split), len(test), len(every_kth(data.test, made.size.every))
        images, tested, certified = roles[problem]
        kind = problem + to_yaml(config.model)
        if kind not in per_pass:
            per_pass[kind] = clock(config, images)
        if not network.file and RunDirectory(made.folder(network.name)).status["state"] != "finished":
            slower = 1.0 if isinstance(config.perturbation, NoPerturbation) else 9 / 8
            training += slower * forecast(config, images, per_pass[kind])
            trainings += 1
        for each in network.audits:
            audits += tested * per_pass[kind] * (1 + sum(attack.forwards() for attack in attack_list(each.attacks)))
            asked += 1
        certificates += len(network.certificates) * certified * per_pass[kind] * (Sampling.n0 + made.size.votes)
        wanted += len(network.certificates)
    more = f" {wanted} certifications, at most about {spoken(certificates)}." if wanted else ""
    return (
        f"{trainings} trainings of {sum(not each.file for each in made.networks)} to be done, about {spoken(training)}; "
        f"{asked} audits, at most about {spoken(audits)} for those that are not there yet.{more}"
    )
