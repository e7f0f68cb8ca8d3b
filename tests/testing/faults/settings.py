"""Components of wrong form, one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

from classwise import ClassPolicy, Selection, config, register


@register("selection", "fault-undecorated")
class Undecorated(Selection):
    """Undecorated.

    check: configured
    seen: Undecorated is not decorated
    mend: write @config above the class
    """

    def score(self, table, epoch):
        return table.worst.value


@register("policy", "fault-a-field-without-a-plain-form")
@config
class AFieldWithoutAPlainForm(ClassPolicy):
    """A field without a plain form.

    check: yaml
    seen: AssertionError
    mend: use fields of type bool, int, float, str
    """

    favourites: frozenset = frozenset({1, 2})


@register("policy", "fault-a-field-of-another-type")
@config
class AFieldOfAnotherType(ClassPolicy):
    """A field of another type.

    check: yaml
    seen: strength: expected float, got 'much'
    mend: use fields of type bool, int, float, str
    """

    strength: float = "much"


@register("policy", "fault-a-field-that-is-changed")
@config
class AFieldThatIsChanged(ClassPolicy):
    """A field that is changed.

    check: yaml
    seen: strength came back changed
    """

    strength: float = 1.0

    def check(self):
        object.__setattr__(self, "strength", self.strength + 1)
