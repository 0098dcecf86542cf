import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.clients import ClientDataset
from federated.engines.cohort import CLIENTS, Cohort, cut, plan_shapes

pytestmark = pytest.mark.fast

T = 8


def client(examples: int, seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    token_ids = random.integers(1, 99, (examples, T), dtype=np.int32)
    token_ids[np.arange(T) >= random.integers(1, T + 1, (examples, 1))] = 0
    return ClientDataset(token_ids, random.integers(0, 9, examples, dtype=np.int32))


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=17)


@given(sizes=SIZES, batch_size=st.integers(1, 9), epochs=st.integers(1, 3))
def test_every_client_finds_its_examples_in_order_and_nothing_else(sizes, batch_size, epochs):
    data = [client(size * epochs, seed) for seed, size in enumerate(sizes)]
    cohort = Cohort(2**32 - 1, 3, list(range(100, 100 + len(data))), data)
    shards = cut(cohort, plan_shapes(sizes, epochs=epochs, batch_size=batch_size, max_tokens=T))
    assert sum(int(shard.clients) for shard in shards) == len(data)
    for slot, expected in enumerate(data):
        shard, place = shards[slot // CLIENTS], slot % CLIENTS
        steps = slice(shard.bounds[place], shard.bounds[place + 1])
        kept = shard.kept[steps]
        assert np.array_equal(shard.label[steps][kept], expected.label)
        found = shard.token_ids[steps][kept]
        assert np.array_equal(np.pad(found, [(0, 0), (0, T - found.shape[1])]), expected.token_ids)
        assert kept.ravel().tolist() == sorted(kept.ravel(), reverse=True), "only the last batch is filled up"
        assert shard.keys[place].view(np.uint32).tolist() == [2**32 - 1, 3, 100 + slot]
    for shard in shards:
        assert (shard.bounds[int(shard.clients) :] == shard.bounds[-1]).all()
        assert not shard.kept[shard.bounds[-1] :].any()


@given(sizes=SIZES, batch_size=st.integers(1, 9), seed=st.integers(0, 99))
def test_there_are_at_most_four_shapes(sizes, batch_size, seed):
    shapes = plan_shapes(sizes, epochs=1, batch_size=batch_size, max_tokens=T)
    assert len(shapes.steps) * len(shapes.tokens) <= 4
    chosen = np.random.default_rng(seed).permutation(len(sizes))
    shards = cut(Cohort(1, 1, chosen.tolist(), [client(sizes[i], i) for i in chosen]), shapes)
    for shard in shards:
        steps, batch, tokens = shard.token_ids.shape
        assert (steps in shapes.steps, batch, tokens in shapes.tokens) == (True, batch_size, True)


def test_small_micro_shards_take_the_small_shape():
    data = [client(40, 1), client(3, 2)]
    data[1].token_ids[:, 2:] = 0
    shapes = plan_shapes([40, 3], epochs=1, batch_size=4, max_tokens=T)
    sizes = [cut(Cohort(1, 1, [0], [one]), shapes)[0].token_ids.shape for one in data]
    assert sizes == [(11, 4, T), (3, 4, T // 2)]
