"""Key-value: what Consul's documentation says, of every implementation."""

from __future__ import annotations

import base64

import httpx
import trio

from services.core.discovery import Operation, Registry


async def test_an_entry_has_consuls_fields(http: httpx.AsyncClient) -> None:
    assert (await http.put("kv/a/b", content=b"one", params={"flags": 42})).text == "true"
    answer = await http.get("kv/a/b")
    (entry,) = answer.json()
    assert entry["Key"] == "a/b"
    assert base64.b64decode(entry["Value"]) == b"one"
    assert entry["Flags"] == 42
    assert entry["LockIndex"] == 0
    assert "Session" not in entry
    assert entry["CreateIndex"] == entry["ModifyIndex"] == int(answer.headers["X-Consul-Index"])
    assert answer.headers["X-Consul-KnownLeader"] == "true"


async def test_a_missing_key_is_404_with_an_index(http: httpx.AsyncClient) -> None:
    answer = await http.get("kv/nothing")
    assert answer.status_code == 404
    assert answer.content == b""
    assert int(answer.headers["X-Consul-Index"]) >= 1


async def test_raw_keys_and_separator(http: httpx.AsyncClient) -> None:
    for key in ("p/a", "p/b/1", "p/b/2", "q"):
        await http.put(f"kv/{key}", content=key.encode())
    assert (await http.get("kv/p/a", params={"raw": ""})).content == b"p/a"
    assert (await http.get("kv/p/", params={"keys": ""})).json() == ["p/a", "p/b/1", "p/b/2"]
    answer = await http.get("kv/p/", params={"keys": "", "separator": "/"})
    assert answer.json() == ["p/a", "p/b/"]
    assert (await http.get("kv/none/", params={"keys": ""})).status_code == 404
    assert (await http.get("kv/none/", params={"recurse": ""})).status_code == 404


async def test_check_and_set(registry: Registry) -> None:
    assert await registry.put("k", b"1", cas=0)
    assert not await registry.put("k", b"2", cas=0)
    entry = await registry.get("k")
    assert entry is not None
    assert await registry.put("k", b"2", cas=entry.modify_index)
    assert not await registry.put("k", b"3", cas=entry.modify_index)
    assert not await registry.delete("k", cas=entry.modify_index)
    entry = await registry.get("k")
    assert entry is not None
    assert entry.value == b"2"
    assert await registry.delete("k", cas=entry.modify_index)
    assert await registry.get("k") is None
    assert await registry.delete("k")


async def test_a_transaction_is_all_or_nothing(registry: Registry) -> None:
    one = Operation(verb="cas", key="t/1", index=0, value=b"a")
    two = Operation(verb="cas", key="t/2", index=0, value=b"b")
    written = await registry.transact(one, two)
    assert written is not None
    assert [entry.key for entry in written] == ["t/1", "t/2"]
    there = await registry.list("t/")
    assert {key: entry.value for key, entry in there.items()} == {"t/1": b"a", "t/2": b"b"}
    assert [entry.modify_index for entry in written] == [
        entry.modify_index for entry in there.values()
    ]
    again = Operation(verb="cas", key="t/1", index=there["t/1"].modify_index, value=b"c")
    assert await registry.transact(again, two) is None
    assert await registry.list("t/") == there
    third = Operation(verb="cas", key="t/3", index=0, value=b"d")
    missing = Operation(verb="check-index", key="t/4", index=0)
    assert await registry.transact(third, missing) is None
    index = Operation(verb="check-index", key="t/2", index=there["t/2"].modify_index)
    absent = Operation(verb="check-not-exists", key="t/4")
    assert await registry.transact(again, index, absent) is not None
    assert (await registry.list("t/"))["t/1"].value == b"c"
    assert await registry.transact(again) is None


async def test_a_transaction_that_cannot_be_read(http: httpx.AsyncClient) -> None:
    operation = {"Verb": "cas", "Key": "k", "Value": "%%", "Index": 0}
    for body in ([{"KV": operation}], [{"KV": operation | {"Verb": "jump"}}], {"KV": 1}):
        assert (await http.put("txn", json=body)).status_code >= 400
    assert (await http.get("kv/k")).status_code == 404
    many = [{"KV": {"Verb": "cas", "Key": f"k{n}", "Value": "", "Index": 0}} for n in range(129)]
    assert (await http.put("txn", json=many)).status_code == 413
    assert (await http.get("kv/k1")).status_code == 404


async def test_equal_bytes_are_no_change(registry: Registry) -> None:
    await registry.put("k", b"same")
    first = await registry.get("k")
    await registry.put("k", b"same")
    assert await registry.get("k") == first


async def test_delete_recurses(registry: Registry) -> None:
    for key in ("d/1", "d/2", "e"):
        await registry.put(key, b"x")
    assert list(await registry.list("d/")) == ["d/1", "d/2"]
    await registry.delete("d/", recurse=True)
    assert await registry.list("d/") == {}
    assert list(await registry.list("")) == ["e"]


async def test_odd_keys_and_values(registry: Registry) -> None:
    values = {"sp ace/ü?&#%": bytes(range(256)), "empty": b"", "a/b/c/": b"dir"}
    for key, value in values.items():
        assert await registry.put(key, value)
    for key, value in values.items():
        entry = await registry.get(key)
        assert entry is not None
        assert (entry.key, entry.value) == (key, value)


async def test_a_value_over_512_kib_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.put("kv/large", content=b"x" * 512 * 1024)).text == "true"
    assert (await http.put("kv/large", content=b"x" * (512 * 1024 + 1))).status_code == 413


async def test_bad_questions_are_400(http: httpx.AsyncClient) -> None:
    assert (await http.put("kv/", content=b"x")).status_code == 400
    assert (await http.get("kv/k", params={"index": "x"})).status_code == 400
    assert (await http.get("kv/k", params={"index": "1", "wait": "x"})).status_code == 400
    both = {"cas": "1", "acquire": "00000000-0000-0000-0000-000000000000"}
    assert (await http.put("kv/k", params=both, content=b"x")).status_code == 400


async def test_a_blocking_query_returns_at_the_change(http: httpx.AsyncClient) -> None:
    await http.put("kv/w/a", content=b"1")
    index = (await http.get("kv/w/", params={"recurse": ""})).headers["X-Consul-Index"]
    answers: list[httpx.Response] = []

    async def wait() -> None:
        question = {"recurse": "", "index": index, "wait": "20s"}
        answers.append(await http.get("kv/w/", params=question))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.3)
        await http.put("kv/other", content=b"x")
        await trio.sleep(0.3)
        assert not answers
        await http.put("kv/w/b", content=b"2")
    assert trio.current_time() - started < 10
    assert [entry["Key"] for entry in answers[0].json()] == ["w/a", "w/b"]
    assert int(answers[0].headers["X-Consul-Index"]) > int(index)


async def test_a_blocking_query_returns_at_a_deletion(http: httpx.AsyncClient) -> None:
    await http.put("kv/w/a", content=b"1")
    index = (await http.get("kv/w/a")).headers["X-Consul-Index"]
    answers: list[httpx.Response] = []

    async def wait() -> None:
        answers.append(await http.get("kv/w/a", params={"index": index, "wait": "20s"}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.2)
        await http.delete("kv/w/a")
    assert answers[0].status_code == 404
    assert int(answers[0].headers["X-Consul-Index"]) > int(index)


async def test_a_blocking_query_ends_with_its_wait(http: httpx.AsyncClient) -> None:
    await http.put("kv/w/a", content=b"1")
    index = (await http.get("kv/w/a")).headers["X-Consul-Index"]
    started = trio.current_time()
    answer = await http.get("kv/w/a", params={"index": index, "wait": "1s"})
    assert 0.9 < trio.current_time() - started < 30
    assert answer.headers["X-Consul-Index"] == index
    assert answer.status_code == 200


async def test_the_clients_watch(registry: Registry) -> None:
    watch = registry.watch("pbx/t/")
    with trio.fail_after(20):
        assert await anext(watch) == {}
        await registry.put("pbx/t/a", b"1")
        assert await anext(watch) == {"pbx/t/a": b"1"}
        await registry.put("pbx/t/b", b"2")
        assert await anext(watch) == {"pbx/t/a": b"1", "pbx/t/b": b"2"}
        await registry.delete("pbx/t/", recurse=True)
        while picture := await anext(watch):
            assert picture
        assert picture == {}
