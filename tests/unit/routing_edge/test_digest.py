"""digest.py: parsing, nonces, verification. Vectors from RFC 7616 3.9.1 and RFC 8760."""

from __future__ import annotations

import contextlib
import statistics
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import digest
from services.call_manager.routing.digest import Freshness, MalformedError, Verdict
from services.core.configuration import DigestAlgorithm, User, ha1

KEY = b"k" * 32
REALM = "sales.example"
SOURCE = "192.0.2.1"
NOW = 1_700_000_000.0
OFFERED: tuple[DigestAlgorithm, ...] = ("SHA-256", "MD5")
ALICE = User(
    tenant="sales",
    extension="1001",
    ha1_md5=ha1("1001", REALM, "secret", "MD5"),
    ha1_sha256=ha1("1001", REALM, "secret", "SHA-256"),
)


def header(given: str, /, **changes: str) -> str:
    """Credentials of 1001 for REGISTER; ``changes`` replace parameters, "" leaves one out."""
    fields = {
        "username": '"1001"',
        "realm": f'"{REALM}"',
        "nonce": f'"{given}"',
        "uri": f'"sip:{REALM}"',
        "algorithm": "SHA-256",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": '"abc"',
    } | changes
    plain = {name: value.strip('"') for name, value in fields.items()}
    if "response" not in fields:
        credentials = digest.Credentials(
            plain["username"],
            plain["realm"],
            plain["nonce"],
            plain["uri"],
            "",
            plain["algorithm"] or "MD5",
            plain["qop"],
            int(plain["nc"] or "0", 16),
            plain["cnonce"],
        )
        known = ALICE.ha1_sha256 if credentials.algorithm == "SHA-256" else ALICE.ha1_md5
        fields["response"] = f'"{digest.response(credentials, "REGISTER", known)}"'
    return "Digest " + ", ".join(f"{k}={v}" for k, v in fields.items() if v)


class Counts:
    """Nonce counts in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def __call__(self, nonce: str, nc: int, fingerprint: str) -> bool:
        kept = digest.advance(self.kept.get(nonce), nc, fingerprint, NOW)
        if kept is None:
            return False
        self.kept[nonce] = kept
        return True


nonces = digest.Nonces(KEY)


def fresh(source: str = SOURCE, when: float = NOW) -> str:
    return nonces.make(REALM, source, when, b"salty")


def judged(
    value: str, counts: Counts | None = None, mark: str = "call 1", when: float = NOW
) -> digest.Judgement:
    request = digest.Request("REGISTER", (value,), SOURCE, mark)
    users = {"1001": ALICE}
    return digest.judge(request, REALM, OFFERED, nonces, users.get, counts or Counts(), when)


def test_rfc_7616_vectors() -> None:
    vectors: dict[DigestAlgorithm, str] = {
        "MD5": "8ca523f5e9506fed4657c9700eebdbec",
        "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    }
    for algorithm, expected in vectors.items():
        credentials = digest.parse(
            'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
            f"algorithm={algorithm}, "
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
            'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
            f'response="{expected}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
        )
        assert credentials is not None
        known = ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)
        assert digest.response(credentials, "GET", known) == credentials.response == expected


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_right_answer_is_accepted(algorithm: str) -> None:
    assert judged(header(fresh(), algorithm=algorithm)).user is ALICE


def test_no_algorithm_is_md5() -> None:
    assert judged(header(fresh(), algorithm="")).verdict is Verdict.ACCEPTED


def test_without_qop_a_nonce_serves_once() -> None:
    counts, nonce = Counts(), fresh()
    value = header(nonce, qop="", nc="", cnonce="")
    assert judged(value, counts).verdict is Verdict.ACCEPTED
    assert judged(value, counts, mark="call 2").verdict is Verdict.REPLAYED


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"username": '"1002"'}, Verdict.WRONG),
        ({"response": f'"{"0" * 64}"'}, Verdict.WRONG),
        ({"realm": '"other.example"'}, Verdict.MISSING),
        ({"realm": '"SALES.example"'}, Verdict.MISSING),
        ({"algorithm": "SHA-512-256", "response": '"00"'}, Verdict.MISSING),
        ({"algorithm": "MD5-sess", "response": f'"{"0" * 32}"'}, Verdict.MISSING),
        ({"nonce": '"made-up"'}, Verdict.FORGED),
        ({"nonce": f'"{"A" * 28}"'}, Verdict.FORGED),
        ({"nonce": '"äöüäöüäöüäöüäöüäöüäöüäöüäöüä"'}, Verdict.FORGED),
    ],
)
def test_wrong_in_one_way(changes: dict[str, str], verdict: Verdict) -> None:
    assert judged(header(fresh(), **changes)).verdict is verdict


def test_a_user_without_that_hash_is_a_wrong_password() -> None:
    old = User(tenant="sales", extension="1001", ha1_md5=ALICE.ha1_md5)
    request = digest.Request("REGISTER", (header(fresh()),), SOURCE, "c 1")
    judgement = digest.judge(request, REALM, OFFERED, nonces, lambda _: old, Counts(), NOW)
    assert judgement.verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "value",
    [
        'Digest username="a", username="b", realm="r", nonce="n", uri="u", response="00"',
        'Digest username="a", realm="r", nonce="n", uri="u"',
        "Digest ",
        "Digest =",
        'Digest username="unclosed',
        'Digest username="a" realm="r"',
        header("n", qop="auth-int"),
        header("n", nc="1"),
        header("n", nc="0000000g", response='"00"'),
        header("n", cnonce=""),
        header("n", response='"xyz"'),
        header("n", response='"00"'),
        header("n", userhash="true"),
        header("n", **{"username*": "UTF-8''1001"}),
        header("n", username="", **{"username*": "latin1''1001"}),
        header("n", username="", **{"username*": "UTF-8''%ff"}),
        "Digest " + "a=b," * 2000,
    ],
)
def test_malformed_is_told_apart_from_wrong(value: str) -> None:
    with pytest.raises(MalformedError):
        judged(value)


def test_too_many_credentials() -> None:
    with pytest.raises(MalformedError):
        digest.choose(["Digest " + header("n")[7:]] * 20, "nobody", OFFERED)


def test_other_schemes_and_realms_are_passed_over() -> None:
    values = ['NoOneKnowsThisScheme opaque-data="here"', header("n", realm='"other"'), header("n")]
    chosen = digest.choose(values, REALM, OFFERED)
    assert chosen is not None
    assert chosen.realm == REALM


@pytest.mark.parametrize(
    ("text", "username"),
    [
        (r'"10\"01"', '10"01'),
        (r'"10\\01"', r"10\01"),
        ('"1001@sales.example"', "1001@sales.example"),
        ("1001", "1001"),
    ],
)
def test_username_forms(text: str, username: str) -> None:
    found = digest.parse(header("n", username=text))
    assert found is not None
    assert found.username == username


def test_extended_username() -> None:
    found = digest.parse(header("n", username="", **{"username*": "UTF-8''j%C3%BCrgen"}))
    assert found is not None
    assert found.username == "jürgen"


def test_empty_list_elements_and_case() -> None:
    found = digest.parse(
        ' dIgEsT ,, USERNAME="a" ,realm="r",,NONCE="n",URI="u", Response="AB" , algorithm="x",'
    )
    assert found is not None
    assert (found.username, found.response) == ("a", "ab")


@given(st.text(max_size=300))
def test_parsing_anything_ends(text: str) -> None:
    with contextlib.suppress(MalformedError):
        assert isinstance(digest.parse("Digest " + text), digest.Credentials)


@given(st.text(max_size=40), st.text(max_size=40))
def test_quoting_round_trips(username: str, realm: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    if username and realm:
        found = digest.parse(header("n", username=quoted(username), realm=quoted(realm)))
        assert found is not None
        assert (found.username, found.realm) == (username, realm)


@given(st.text(min_size=1, max_size=40))
def test_extended_username_round_trips(name: str) -> None:
    value = header("n", username="", **{"username*": f"UTF-8''{quote(name, safe='')}"})
    found = digest.parse(value)
    assert found is not None
    assert found.username == name


def test_nonce_is_good_on_every_call_manager_of_the_cluster() -> None:
    elsewhere = digest.Nonces(KEY)
    assert elsewhere.check(fresh(), REALM, SOURCE, NOW + 1) is Freshness.FRESH
    foreign = digest.Nonces(b"another key of another cluster..")
    assert foreign.check(fresh(), REALM, SOURCE, NOW) is Freshness.FOREIGN


@pytest.mark.parametrize(
    ("age", "freshness"),
    [
        (0, Freshness.FRESH),
        (digest.NONCE_LIFETIME, Freshness.FRESH),
        (digest.NONCE_LIFETIME + 1, Freshness.STALE),
        (-digest.CLOCK_SKEW, Freshness.FRESH),
        (-digest.CLOCK_SKEW - 1, Freshness.STALE),
    ],
)
def test_nonce_age(age: int, freshness: Freshness) -> None:
    assert nonces.check(fresh(), REALM, SOURCE, NOW + age) is freshness


def test_nonce_is_bound_to_realm_and_source() -> None:
    assert nonces.check(fresh(), "other", SOURCE, NOW) is Freshness.FOREIGN
    assert nonces.check(fresh(), REALM, "192.0.2.2", NOW) is Freshness.FOREIGN


@given(st.integers(0, 27), st.characters(codec="ascii"))
def test_a_changed_nonce_is_foreign(position: int, character: str) -> None:
    nonce = fresh()
    changed = nonce[:position] + character + nonce[position + 1 :]
    if changed != nonce:
        assert nonces.check(changed, REALM, SOURCE, NOW) is Freshness.FOREIGN


def test_stale_is_not_wrong() -> None:
    assert judged(header(fresh(when=NOW - 1000))).verdict is Verdict.STALE


@given(st.lists(st.integers(1, 20), max_size=30))
def test_the_count_must_grow(ncs: list[int]) -> None:
    seen: str | None = None
    highest = 0
    for index, nc in enumerate(ncs):
        kept = digest.advance(seen, nc, f"f{index}", NOW)
        assert (kept is not None) == (nc > highest)
        seen, highest = kept or seen, max(nc, highest)


def test_a_retransmission_is_no_replay_for_a_while() -> None:
    seen = digest.advance(None, 1, "same", NOW)
    assert digest.advance(seen, 1, "same", NOW + digest.RETRANSMISSION) == seen
    assert digest.advance(seen, 1, "same", NOW + digest.RETRANSMISSION + 1) is None
    assert digest.advance(seen, 1, "other", NOW) is None


def test_a_wrong_answer_uses_up_no_count() -> None:
    counts, nonce = Counts(), fresh()
    judged(header(nonce, nc="0000ffff", response=f'"{"0" * 64}"'), counts)
    assert judged(header(nonce), counts).verdict is Verdict.ACCEPTED


def test_challenges() -> None:
    lines = digest.challenges('a"b', "n", OFFERED, stale=True, proxy=True)
    assert lines == (
        'Proxy-Authenticate: Digest realm="a\\"b", nonce="n", qop="auth", '
        "algorithm=SHA-256, stale=true\r\n"
        'Proxy-Authenticate: Digest realm="a\\"b", nonce="n", qop="auth", '
        "algorithm=MD5, stale=true\r\n"
    )


def test_unknown_user_takes_as_long_as_a_known_one() -> None:
    """Within a class: medians of interleaved runs differ by less than a microsecond or a tenth."""
    nonce = fresh()
    known = header(nonce, response=f'"{"0" * 64}"')
    unknown = header(nonce, username='"4711"', response=f'"{"0" * 64}"')
    times: dict[str, list[float]] = {known: [], unknown: []}
    for _ in range(2000):
        for value, taken in times.items():
            start = time.perf_counter()
            judged(value)
            taken.append(time.perf_counter() - start)
    a, b = (statistics.median(taken) for taken in times.values())
    assert abs(a - b) < max(1e-6, 0.1 * a)
