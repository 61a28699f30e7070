"""Which rows can be forked off SGLang's own radix cache, without a model."""

from array import array
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from sglang.srt.mem_cache.base_prefix_cache import EvictParams

from fasttts_sglang.runtime.branch import Branch
from fasttts_sglang.runtime.kv_paths import KvPaths
from fasttts_sglang.runtime.reading import Reading
from fasttts_sglang.runtime.rows import RowFactory
from fasttts_sglang.scheduling.step import Step

from .test_retention import Ids, cache, insert, sequences

PROMPT = (7, 8)


@given(
    st.lists(sequences, min_size=1, max_size=5),
    st.integers(0, 20),
    st.lists(sequences, max_size=3),
)
def test_a_row_is_within_reach_if_all_but_the_last_token_of_its_prefix_is_cached(
    parents: list[Ids], num_evicted: int, again: list[Ids]
) -> None:
    tree = cache()
    tree.req_to_token_pool = None
    scheduler = SimpleNamespace(
        tree_cache=tree,
        req_to_token_pool=None,
        token_to_kv_pool_allocator=tree.token_to_kv_pool_allocator,
        page_size=1,
    )
    rows, paths = RowFactory(scheduler), KvPaths(tree)
    root = Step((), None)
    branches = {}
    for number, ids in enumerate(parents):
        insert(tree, PROMPT + ids, ours=True)
        branch = Branch(root.child(number), 0, array("q", ids), Reading.of((), None))
        branch.kv = paths.find(array("q", PROMPT + ids))
        branches[branch.path] = branch
    search = SimpleNamespace(prompt=array("q", PROMPT), branches=branches)
    tree.evict(EvictParams(num_tokens=num_evicted))
    for ids in again:  # another row brings it in
        insert(tree, PROMPT + ids, ours=True)
    for branch in branches.values():
        whole = array("q", search.prompt + branch.ids)
        reached = rows.reaches(search, branch.step.child(0))
        assert reached == (paths.find(whole).length >= len(whole) - 1)
