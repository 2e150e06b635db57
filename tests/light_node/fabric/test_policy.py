"""Policy semantics of docs/fabric-protocol.md 2.4 against cases made by hand.

Signature policies are counted over stand-ins for identities, so that every case is readable; the
reduction of signatures to identities is tested with real ones.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from light_node.fabric import policy
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.fabric.policy import (
    NOutOf,
    PolicyError,
    PolicyGroup,
    SignaturePolicy,
    SignedBy,
    SignedData,
)

Envelope = common_pb2.SignaturePolicyEnvelope


class Somebody:
    """An identity that satisfies the principals it is named after: "ab" satisfies a and b."""

    def __init__(self, name: str) -> None:
        self.name = name

    def satisfies(self, principal: common_pb2.MSPPrincipal) -> bool:
        return principal.principal.decode() in self.name


def by(letter: str) -> SignedBy:
    return SignedBy(common_pb2.MSPPrincipal(principal=letter.encode()))


def passes(rule: NOutOf | SignedBy, *names: str) -> bool:
    people: Any = [Somebody(name) for name in names]
    return SignaturePolicy(rule).satisfied_by(people)


def test_one_identity_never_counts_twice() -> None:
    both = NOutOf(2, (by("a"), by("a")))
    assert not passes(both, "a")
    assert passes(both, "a", "a")
    assert not passes(NOutOf(2, (by("a"), by("b"))), "ab")


def test_the_first_identity_that_fits_is_used_up_even_if_another_would_do_better() -> None:
    """Greedy: "ab" is taken for a, so nobody is left for b, though the other order would do."""
    rule = NOutOf(2, (by("a"), by("b")))
    assert not passes(rule, "ab", "a")
    assert passes(rule, "a", "ab")
    assert passes(rule, "ab", "b")


def test_a_rule_that_fails_gives_back_what_it_used() -> None:
    first = NOutOf(2, (by("a"), by("x")))  # takes a, then fails for want of x
    assert passes(NOutOf(1, (first, by("a"))), "a")
    succeeded = NOutOf(1, (by("a"), by("x")))
    assert not passes(NOutOf(2, (succeeded, by("a"))), "a")


def test_every_rule_is_evaluated_even_after_enough() -> None:
    """Fabric does not stop at n: the third rule still uses up c, which the next one then lacks."""
    greedy = NOutOf(1, (by("a"), by("b"), by("c")))
    assert not passes(NOutOf(2, (greedy, by("c"))), "a", "c")
    assert passes(NOutOf(2, (greedy, by("c"))), "a", "c", "c")


def test_n_of_nothing() -> None:
    assert passes(NOutOf(0, ()))
    assert not passes(NOutOf(1, ()))
    assert passes(NOutOf(-1, (by("a"),)))


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=5),
    st.lists(st.sampled_from(["a", "b", "c", "z"]), max_size=5),
    st.integers(0, 5),
)
@settings(max_examples=200)
def test_with_distinct_principals_greedy_is_counting(
    rules: list[str], signers: list[str], n: int
) -> None:
    """For identities with one role each, greedy evaluation is a multiset intersection."""
    matched = sum(min(rules.count(x), signers.count(x)) for x in set(rules))
    assert passes(NOutOf(n, tuple(by(x) for x in rules)), *signers) == (matched >= n)


# -- reading ------------------------------------------------------------------------------------


def test_a_policy_of_another_version_or_without_rule_is_refused() -> None:
    with pytest.raises(PolicyError, match="version 1"):
        SignaturePolicy.from_message(Envelope(version=1))
    with pytest.raises(PolicyError, match="empty rule"):
        SignaturePolicy.from_message(Envelope())
    with pytest.raises(PolicyError, match="cannot be read"):
        SignaturePolicy.from_bytes(b"\xff")


@pytest.mark.parametrize("index", [-1, 1, 2**31 - 1])
def test_a_principal_that_is_not_listed_is_refused(index: int) -> None:
    envelope = Envelope(identities=[common_pb2.MSPPrincipal()])
    envelope.rule.signed_by = index
    with pytest.raises(PolicyError, match="not listed"):
        SignaturePolicy.from_message(envelope)


def test_endless_and_huge_policies_are_refused() -> None:
    deep = Envelope(identities=[common_pb2.MSPPrincipal()])
    rule = deep.rule
    for _ in range(policy.MAX_DEPTH + 5):
        rule = rule.n_out_of.rules.add()
    rule.signed_by = 0
    wide = Envelope(identities=[common_pb2.MSPPrincipal()])
    for _ in range(policy.MAX_RULES + 1):
        wide.rule.n_out_of.rules.add(signed_by=0)
    for envelope in (deep, wide):
        with pytest.raises(PolicyError, match="too large"):
            SignaturePolicy.from_message(envelope)


@pytest.mark.parametrize(
    ("consenters", "quorum"),
    [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (8, 6), (9, 6), (10, 7)],
)
def test_bft_quorum(consenters: int, quorum: int) -> None:
    assert policy.bft_quorum(consenters) == quorum


@given(st.integers(1, 1000))
def test_two_quorums_share_an_honest_consenter(n: int) -> None:
    quorum, faulty = policy.bft_quorum(n), (n - 1) // 3
    assert 2 * quorum - n > faulty
    assert quorum <= n - faulty, "the honest ones alone can make one"


def test_no_consenters_have_no_quorum() -> None:
    with pytest.raises(PolicyError):
        policy.bft_quorum(0)


# -- implicit meta ------------------------------------------------------------------------------


def signature(letter: str) -> common_pb2.Policy:
    envelope = Envelope(identities=[common_pb2.MSPPrincipal(principal=letter.encode())])
    envelope.rule.n_out_of.n = 1
    envelope.rule.n_out_of.rules.add(signed_by=0)
    return common_pb2.Policy(type=1, value=envelope.SerializeToString())


def implicit(rule: str, name: str = "Writers") -> common_pb2.Policy:
    value = common_pb2.ImplicitMetaPolicy(sub_policy=name, rule=rule)
    return common_pb2.Policy(type=3, value=value.SerializeToString())


def tree(rule: str, letters: str, *, without: int = 0) -> PolicyGroup:
    """A group with an implicit policy over one child per letter, and ``without`` bare ones."""
    group = common_pb2.ConfigGroup()
    group.policies["P"].policy.CopyFrom(implicit(rule))
    for index, letter in enumerate(letters):
        child = group.groups[f"org{index}"]
        child.policies["Writers"].policy.CopyFrom(signature(letter))
    for index in range(without):
        group.groups[f"bare{index}"].mod_policy = "Admins"
    return PolicyGroup.from_group(group)


def holds(group: PolicyGroup, *names: str, path: str = "/Channel/P") -> bool:
    people: Any = [Somebody(name) for name in names]
    return group.find(path).satisfied_by(people)


@pytest.mark.parametrize(
    ("rule", "letters", "without", "signers", "expected"),
    [
        ("ANY", "abc", 0, "c", True),
        ("ANY", "abc", 0, "", False),
        ("ALL", "abc", 0, "abc", True),
        ("ALL", "abc", 0, "ab", False),
        ("MAJORITY", "abc", 0, "ab", True),
        ("MAJORITY", "abc", 0, "a", False),
        ("MAJORITY", "ab", 0, "a", False),
        ("MAJORITY", "ab", 0, "ab", True),
        ("MAJORITY", "a", 0, "a", True),
        ("MAJORITY", "abcd", 0, "ab", False),
        ("MAJORITY", "abcd", 0, "abd", True),
        # Children without the policy count, and fail.
        ("ALL", "ab", 1, "ab", False),
        ("MAJORITY", "ab", 1, "ab", True),
        ("MAJORITY", "ab", 2, "ab", False),
        ("ANY", "", 2, "a", False),
    ],
)
def test_implicit_meta(rule: str, letters: str, without: int, signers: str, expected: bool) -> None:
    assert holds(tree(rule, letters, without=without), *signers) == expected


@pytest.mark.parametrize("rule", ["ANY", "ALL", "MAJORITY"])
def test_implicit_meta_over_nothing_is_an_error_not_a_pass(rule: str) -> None:
    with pytest.raises(PolicyError, match="no group"):
        holds(tree(rule, ""), "a")


def test_each_child_sees_the_whole_set() -> None:
    """One identity may satisfy several children: marks are kept within one policy only."""
    assert holds(tree("ALL", "ab"), "ab")


def test_a_child_that_cannot_be_evaluated_counts_as_failing() -> None:
    group = common_pb2.ConfigGroup()
    group.policies["P"].policy.CopyFrom(implicit("ANY"))
    group.groups["broken"].policies["Writers"].policy.type = 9
    group.groups["empty"].policies["Writers"].policy.CopyFrom(implicit("ANY"))
    group.groups["good"].policies["Writers"].policy.CopyFrom(signature("a"))
    assert holds(PolicyGroup.from_group(group), "a")
    assert not holds(PolicyGroup.from_group(group), "b")


def test_policies_nest_by_groups() -> None:
    channel = common_pb2.ConfigGroup()
    channel.policies["Writers"].policy.CopyFrom(implicit("ANY"))
    for name, letter in (("Orderer", "o"), ("Application", "a")):
        group = channel.groups[name]
        group.policies["Writers"].policy.CopyFrom(implicit("MAJORITY"))
        group.groups["org"].policies["Writers"].policy.CopyFrom(signature(letter))
    made = PolicyGroup.from_group(channel)
    assert holds(made, "o", path="/Channel/Writers")
    assert holds(made, "a", path="/Channel/Application/org/Writers")
    assert not holds(made, "o", path="/Channel/Application/Writers")


@pytest.mark.parametrize(
    "path", ["", "Writers", "/Channel", "/Channel/", "/Other/P", "Channel/P", "/Channel/No/P", "/P"]
)
def test_an_unknown_name_rejects_everything(path: str) -> None:
    with pytest.raises(PolicyError):
        tree("ANY", "a").find(path)


def test_unknown_types_and_rules_reject_everything() -> None:
    group = common_pb2.ConfigGroup()
    group.policies["P"].policy.type = common_pb2.Policy.MSP
    with pytest.raises(PolicyError, match="unknown type 2"):
        holds(PolicyGroup.from_group(group), "a")
    value = b"\x0a\x07Writers\x10\x09"  # rule 9
    group.policies["P"].policy.CopyFrom(common_pb2.Policy(type=3, value=value))
    group.groups["org"].policies["Writers"].policy.CopyFrom(signature("a"))
    with pytest.raises(PolicyError, match="rule 9"):
        holds(PolicyGroup.from_group(group), "a")


def test_groups_without_end_are_refused() -> None:
    channel = common_pb2.ConfigGroup()
    group = channel
    for _ in range(policy.MAX_DEPTH + 2):
        group = group.groups["deeper"]
    with pytest.raises(PolicyError, match="deeply"):
        PolicyGroup.from_group(channel)


def test_application_policies() -> None:
    root = tree("ANY", "ab")
    reference = peer_pb2.ApplicationPolicy(channel_config_policy_reference="/Channel/P")
    assert reference.SerializeToString() == b"\x12\x0a/Channel/P"
    people: Any = [Somebody("a")]
    made = policy.application_policy(reference.SerializeToString(), root)
    assert made.satisfied_by(people)
    own = peer_pb2.ApplicationPolicy()
    own.signature_policy.CopyFrom(Envelope.FromString(signature("b").value))
    assert not policy.application_policy(own.SerializeToString(), root).satisfied_by(people)
    for raw in (b"", b"\xff"):
        with pytest.raises(PolicyError):
            policy.application_policy(raw, root)


# -- from signatures to identities --------------------------------------------------------------


def signed_by(identity: SigningIdentity, message: bytes = b"m") -> SignedData:
    return SignedData(message, identity.serialized, identity.sign(message))


def test_what_does_not_verify_is_dropped(consortium: Any) -> None:
    one, two, three = consortium.peers
    bad = SignedData(b"m", two.serialized, one.sign(b"m"))
    stranger = SigningIdentity.from_key("NoMSP", one.certificate_pem, one.signer._key)
    junk = SignedData(b"m", b"\xff", b"")
    given_ = [signed_by(stranger), junk, bad, signed_by(one), signed_by(one), signed_by(three)]
    found = policy.valid_identities(consortium.msps, given_)
    assert [i.msp_id for i in found] == ["Org1MSP", "Org3MSP"]


def test_a_bad_signature_does_not_shadow_a_good_one_of_the_same_identity(consortium: Any) -> None:
    one = consortium.peers[0]
    bad = SignedData(b"m", one.serialized, b"nonsense")
    assert len(policy.valid_identities(consortium.msps, [bad, signed_by(one)])) == 1


def test_real_signatures_against_a_role_policy(consortium: Any) -> None:
    raw = policy.signed_by_roles(["Org1MSP", "Org2MSP"], [common_pb2.MSPRole.PEER], 2)
    rule = SignaturePolicy.from_bytes(raw)
    one, two, three = (signed_by(peer) for peer in consortium.peers)
    client = signed_by(consortium.client)
    assert policy.satisfied(rule, consortium.msps, [two, one])
    for too_few in ([one], [one, three], [one, one], [one, client]):
        assert not policy.satisfied(rule, consortium.msps, too_few)
