"""The bookkeeping of mapped memory, against a driver that only counts and fails at will."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime import cpu

cpu.install_fallbacks()

from fasttts_sglang.runtime.pools import cuda_backing  # noqa: E402
from fasttts_sglang.runtime.pools.cuda_backing import CudaBacking, _unit  # noqa: E402
from fasttts_sglang.runtime.pools.cuda_driver import DriverError, Granules  # noqa: E402

SIZE = 64  # bytes of a granule


class Driver(Granules):
    """The real bookkeeping over made-up calls."""

    def __init__(self, memory: int) -> None:
        self.device = torch.device("cpu")
        self.size, self.memory = SIZE, memory
        self.num_made, self._spare = 0, []
        self._property = self._access = None
        self.mapped: dict[int, int] = {}  # granule by address
        self.readable: set[int] = set()
        self.fail_in: int | None = None  # calls from now on

    def call(self, name: str, *args: Any) -> Any:
        if self.fail_in is not None and name in ("cuMemCreate", "cuMemMap", "cuMemSetAccess"):
            self.fail_in -= 1
            if self.fail_in < 0:
                self.fail_in = None
                raise DriverError(f"{name} failed")
        return getattr(self, name)(*args)

    def cuMemAddressReserve(self, size: int, *_: int) -> int:
        assert size % SIZE == 0
        self._next = getattr(self, "_next", 1 << 20) + size
        return self._next - size

    def cuMemCreate(self, size: int, *_: Any) -> int:
        if self.num_made == self.memory:
            raise DriverError("cuMemCreate failed: out of memory")
        self._last = getattr(self, "_last", 0) + 1
        return self._last

    def cuMemRelease(self, granule: int) -> None:
        assert granule not in self.mapped.values()

    def cuMemMap(self, address: int, size: int, offset: int, granule: int, flags: int) -> None:
        assert (size, offset, address % SIZE, flags) == (SIZE, 0, 0, 0)
        assert address not in self.mapped and granule not in self.mapped.values()
        self.mapped[address] = granule

    def cuMemSetAccess(self, address: int, size: int, *_: Any) -> None:
        addresses = range(address, address + size, SIZE)
        assert all(each in self.mapped for each in addresses)
        self.readable |= set(addresses)

    def cuMemUnmap(self, address: int, size: int) -> None:
        assert size == SIZE
        del self.mapped[address]
        self.readable.discard(address)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(memory=400)
    monkeypatch.setattr(cuda_backing, "call", driver.call)
    monkeypatch.setattr("fasttts_sglang.runtime.pools.cuda_driver.call", driver.call)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    monkeypatch.setattr(
        cuda_backing, "_tensor", lambda _, shape, dtype, __: torch.empty(shape, dtype=dtype)
    )
    return driver


def covers(driver: Driver, backing: CudaBacking) -> bool:
    """Whether exactly the first rows of each buffer are mapped and readable."""
    wanted = {
        address + offset
        for address, width in zip(backing._addresses, backing.widths, strict=True)
        for offset in range(0, backing.rows * width, SIZE)
    }
    return wanted <= driver.readable


def test_units_fill_whole_granules() -> None:
    granule = 2 << 20
    assert _unit(granule, {512}) == 4096
    assert _unit(granule, {1024, 512}) == 4096
    assert _unit(granule, {5 * 128}) == 16384  # 5 granules for an odd number of heads
    assert _unit(granule, {2 * granule}) == 1


moves = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 80), st.none() | st.integers(0, 9)))


@given(moves)
def test_failures_leave_everything_as_it_was(moves: list[tuple[int, int, int | None]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        driver = Driver(memory=40)
        patch.setattr(cuda_backing, "call", driver.call)
        patch.setattr("fasttts_sglang.runtime.pools.cuda_driver.call", driver.call)
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
        patch.setattr(
            cuda_backing, "_tensor", lambda _, shape, dtype, __: torch.empty(shape, dtype=dtype)
        )
        kinds = [[(80, 2, 4)] * 2, [(80, 1, 6), (80, 1, 4)]]
        backings = [CudaBacking(shapes, torch.float16, driver, 1) for shapes in kinds]
        for which, rows, fail_in in moves:
            backing = backings[which]
            before = dict(driver.mapped), [each.rows for each in backings]
            driver.fail_in = fail_in
            try:
                (backing.map if rows > backing.rows else backing.unmap)(rows)
            except DriverError:
                assert (dict(driver.mapped).keys(), before[1]) == (
                    before[0].keys(),
                    [each.rows for each in backings],
                )
            else:
                assert rows <= backing.rows < rows + backing.unit
            driver.fail_in = None
            assert all(covers(driver, each) for each in backings)
            assert len(driver.mapped) * SIZE == sum(each.mapped_bytes for each in backings)
            assert len(driver.mapped) + driver.num_spare == driver.num_made <= 40


def test_what_one_gives_up_the_other_gets_without_asking_the_device(driver: Driver) -> None:
    first, second = (CudaBacking([(160, 1, 8)] * 2, torch.float32, driver, 80) for _ in range(2))
    driver.memory = driver.num_made  # the device has nothing more
    with pytest.raises(DriverError, match=r"MiB of KV memory are wanted.*out of memory"):
        second.map(120)
    assert second.rows == 80 and covers(driver, second)
    first.unmap(40)
    assert driver.num_spare == 40
    second.map(120)
    assert (first.rows, second.rows, driver.num_spare) == (40, 120, 0)
    second.unmap(80)
    second.settle()
    assert driver.num_spare == 0
    assert driver.num_made == len(driver.mapped)


def test_new_memory_is_cleared(driver: Driver) -> None:
    backing = CudaBacking([(64, 1, 8)], torch.float32, driver, 16)
    assert not backing.tensors[0][:16].any()
    backing.tensors[0][16:] = float("nan")
    backing.map(32)
    assert not backing.tensors[0][:32].any()
