"""The index of KV on the host: within its limit, of live paths alone, and never another token's."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.memory.host_store import HostStore, Piece
from fasttts_sglang.scheduling.retention import LivePath

Ids = tuple[int, ...]
sequences = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
live_sets = st.dictionaries(sequences, st.floats(0, 2), max_size=6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), live_sets),
        st.tuples(st.just("put"), sequences, st.integers(0, 8)),
        st.tuples(st.just("find"), sequences, st.integers(0, 8)),
        st.tuples(st.just("add"), st.integers(1, 4)),
    ),
    max_size=30,
)


def paths(live: dict[Ids, float]) -> list[LivePath]:
    """Their names tell nothing here: none is another's parent."""
    return [LivePath(str(i), (), array("q", ids), live[ids]) for i, ids in enumerate(live)]


def prefixes(live: dict[Ids, float]) -> dict[Ids, float]:
    """Every live token, as the prefix that ends with it, and what it is worth."""
    found: dict[Ids, float] = {}
    for ids, worth in live.items():
        for end in range(1, len(ids) + 1):
            found[ids[:end]] = max(worth, found.get(ids[:end], 0))
    return found


class Model:
    """The store beside the memory that it indexes: a dict of what was written to each slot."""

    def __init__(self, *sizes: int) -> None:
        self.more = list(sizes)
        self.store = HostStore(self.grow)
        self.memory: dict[int, Ids] = {}
        self.live: dict[Ids, float] = {}

    def grow(self) -> int:
        return self.more.pop() if self.more else 0

    def keep(self, live: dict[Ids, float]) -> None:
        self.live = prefixes(live)
        self.store.keep(paths(live))

    def put(self, ids: Ids, begin: int) -> int:
        before = {token: slot for token in self.live for slot in self.slots(token)}
        pieces = self.store.put(array("q", ids), begin)
        stored: list[Ids] = []
        for start, slots in pieces:
            assert start >= begin
            for at, slot in enumerate(slots, start):
                token = ids[: at + 1]
                assert token in self.live and token not in before
                self.memory[slot] = token
                stored.append(token)
        gone = [token for token in before if not self.slots(token)]
        if gone:  # only what is worth less had to go
            best = max(self.live[token] for token in stored)
            assert max(self.live[token] for token in gone) < best
        return len(stored)

    def slots(self, token: Ids) -> list[int]:
        return list(self.store.find(array("q", token), len(token) - 1, len(token)))

    def check(self) -> None:
        """All that is held is live, each token in a slot of its own, with its own content."""
        found = {token: self.slots(token) for token in self.live}
        slots = [slot for some in found.values() for slot in some]
        assert len(set(slots)) == len(slots) == self.store.held <= self.store.capacity
        assert all(0 <= slot < self.store.capacity for slot in slots)
        for token, some in found.items():
            assert all(self.memory[slot] == token for slot in some)


@given(st.integers(0, 12), steps)
def test_what_is_put_is_found_or_gone(capacity: int, actions: list[tuple]) -> None:  # type: ignore[type-arg]
    model = Model(capacity)
    for name, *args in actions:
        if name == "add":
            model.more += args
        elif name == "keep":
            model.keep(args[0])
        elif name == "put":
            model.put(*args)
        else:
            ids, begin = args
            found = model.store.find(array("q", ids), begin, len(ids))
            for at, slot in enumerate(found, begin):
                assert model.memory[slot] == ids[: at + 1]
            assert len(found) == max(0, len(ids) - begin) or not model.slots(
                ids[: begin + len(found) + 1]
            )
        model.check()
    model.keep({})
    assert model.store.held == 0


@given(live_sets, sequences, st.integers(0, 8))
def test_with_room_all_that_is_live_is_taken(live: dict[Ids, float], ids: Ids, begin: int) -> None:
    model = Model(40, 60)
    model.keep(live)
    wanted = [ids[:end] for end in range(begin + 1, len(ids) + 1) if ids[:end] in model.live]
    assert model.put(ids, begin) == len(wanted)
    assert model.put(ids, begin) == 0  # it is there already


def test_the_far_end_of_what_is_worth_least_goes_first() -> None:
    store = HostStore(Model(4).grow)
    live = {(1, 2, 3, 4): 0.5, (1, 2): 0.9, (7, 8): 0.8}
    store.keep(paths(live))
    assert store.put(array("q", (1, 2, 3, 4)), 0) == [
        Piece(0, array("q", [0, 1])),
        Piece(2, array("q", [2, 3])),
    ]
    assert store.put(array("q", (7, 8)), 0) == [Piece(0, array("q", [2, 3]))]
    assert list(store.find(array("q", (1, 2, 3, 4)), 0, 4)) == [0, 1]


def test_a_child_is_known_from_its_parent_on() -> None:
    store = HostStore(Model(9).grow)
    family = [
        LivePath("s", (), array("q", [1, 2]), 2.0),
        LivePath("s", (0,), array("q", [1, 2, 3, 4]), 1.0),
        LivePath("s", (1,), array("q", [1, 2, 3, 5]), 1.0),
        LivePath("s", (0, 0), array("q", [1, 2, 3, 4, 6]), 1.0),
    ]
    store.keep(family)
    store.put(array("q", [1, 2, 3, 4, 6, 7]), 1)
    assert len(store.find(array("q", [1, 2, 3, 4, 6, 7]), 1, 6)) == 4
    store.keep(family[:1] + family[2:3])
    assert store.held == 2  # of tokens 2 and 3
    store.clear()
    assert (store.held, store.capacity) == (0, 0)
