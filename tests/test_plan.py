"""What a run has to do, and which shards it makes."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_samples import digest_of

from cache.errors import InputError
from cache.index import IndexRow, StoreIndex
from cache.layout import Key
from cache.plan import ShardPlan, decide, plan_shards


def key(name: str, version: str = "") -> Key:
    return Key(name, digest_of(name + version))


def sealed(index: StoreIndex, plans: Iterable[ShardPlan]) -> StoreIndex:
    """Give the index after these shards have been sealed."""
    new = [IndexRow(key, 5, "", 0.1, plan.generation, plan.filename) for plan in plans for key in plan.keys]
    return StoreIndex(tuple(sorted([*index.rows, *new], key=lambda row: (row.generation, row.shard, row.key))))


def test_decisions() -> None:
    index = sealed(StoreIndex(), [ShardPlan.of([key("a"), key("b")])])
    problem = IndexRow(key("c"), 0, "empty file", 0.0, 1, "shard")
    index = StoreIndex((*index.rows, problem))
    wanted = [key("d"), key("c"), key("b", "changed"), key("a")]
    assert decide(wanted, index) == ["missing", "done", "stale", "done"]
    assert decide([], index) == []


def test_new_clips_make_generation_0_in_runs_of_sorted_keys() -> None:
    names = [f"{number:02d}" for number in range(7)]
    wanted = [key(name) for name in names]
    random.Random(0).shuffle(wanted)
    plans = plan_shards(wanted, StoreIndex(), clips_per_shard=3)
    assert [[key.name for key in plan.keys] for plan in plans] == [names[:3], names[3:6], names[6:]]
    assert [plan.generation for plan in plans] == [0, 0, 0]


def test_changed_clips_make_shards_above_those_that_they_supersede() -> None:
    index = sealed(StoreIndex(), [ShardPlan.of([key("a"), key("b")]), ShardPlan.of([key("b", "2")], generation=4)])
    plans = plan_shards([key("a", "3"), key("b", "3"), key("c")], index, clips_per_shard=10)
    assert plans == [ShardPlan.of([key("c")]), ShardPlan.of([key("a", "3"), key("b", "3")], generation=5)]
    after = sealed(index, plans)
    assert {name: row.key for name, row in after.by_name.items()} == {
        "a": key("a", "3"),
        "b": key("b", "3"),
        "c": key("c"),
    }
    assert after.by_key[key("b", "2")].generation == 4


def test_nothing_to_do() -> None:
    assert plan_shards([], StoreIndex(), clips_per_shard=1) == []
    index = sealed(StoreIndex(), [ShardPlan.of([key("a")])])
    assert plan_shards([key("a")], index, clips_per_shard=1) == []


names = st.sets(st.integers(0, 40), max_size=25)


@given(names, names, names, st.integers(1, 6), st.randoms())
def test_planning_after_any_shards_are_sealed_gives_the_others(
    old: set[int], older: set[int], wanted: set[int], clips_per_shard: int, chance: random.Random
) -> None:
    index = StoreIndex()
    for version, there in enumerate((older, old)):
        earlier = [key(str(number), str(version * (number % 3))) for number in there]
        index = sealed(index, plan_shards(earlier, index, clips_per_shard=4))
    keys = [key(str(number), str(chance.randrange(3))) for number in sorted(wanted)]
    plans = plan_shards(keys, index, clips_per_shard=clips_per_shard)
    assert sorted(key for plan in plans for key in plan.keys) == sorted(set(keys) - set(index.by_key))
    done = [plan for plan in plans if chance.random() < 0.5]
    chance.shuffle(keys)
    again = plan_shards(keys, sealed(index, done), clips_per_shard=clips_per_shard)
    assert [plan.filename for plan in again] == [plan.filename for plan in plans if plan not in done]
    assert again == [plan for plan in plans if plan not in done]
    after = sealed(index, plans)
    assert decide(keys, after) == ["done"] * len(keys)
    newly = {key.name: key for plan in plans for key in plan.keys}
    assert {name: after.by_name[name].key for name in newly} == newly


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="'a' is given 2 times"):
        plan_shards([key("b"), key("a"), key("a", "2")], StoreIndex(), clips_per_shard=1)


def test_a_shard_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1; got 0"):
        plan_shards([key("a")], StoreIndex(), clips_per_shard=0)


@pytest.mark.parametrize("names", ["ba", "aa"])
def test_a_plans_keys_are_sorted_and_unique(names: str) -> None:
    with pytest.raises(InputError, match="sorted and each given once"):
        ShardPlan(tuple(map(key, names)))


def test_an_empty_plan_is_refused() -> None:
    with pytest.raises(InputError, match="at least one clip"):
        ShardPlan(())
