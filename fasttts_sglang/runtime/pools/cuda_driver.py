"""The few calls of CUDA's virtual memory that a KV pool needs, with errors that say what failed.

Source: NVIDIA's driver API, "Virtual Memory Management"; called as in SGLang's `kv_vmm_backing`.
"""

from typing import Any

import torch
from cuda.bindings import driver
from sglang.srt.mem_cache.kv_vmm_backing import query_granularity

_MIB = 1 << 20


class DriverError(RuntimeError):
    """A call of the CUDA driver failed."""


def call(name: str, *args: Any) -> Any:
    """Call `cuda.bindings.driver.<name>`; return its value, if it has one.

    Raises:
        DriverError: It failed; the message has its name, arguments that are numbers, and CUDA's
            own words.
    """
    result = getattr(driver, name)(*args)
    error, *values = result if isinstance(result, tuple) else (result,)
    if error != driver.CUresult.CUDA_SUCCESS:
        numbers = ", ".join(str(arg) for arg in args if isinstance(arg, int))
        raise DriverError(f"{name}({numbers}) failed: {_words(error)}")
    return values[0] if values else None


def _words(error: Any) -> str:
    name = getattr(error, "name", str(error))
    status, text = driver.cuGetErrorString(error)
    if status != driver.CUresult.CUDA_SUCCESS or text is None:
        return str(name)
    return f"{name}, {text.decode()}"


class Granules:
    """Physical memory of one device, in pieces of the size in which it can be mapped.

    Pools that share it pass granules on to each other: what one has unmapped another can map, so
    a resize asks the device for next to nothing and can always be undone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        torch.cuda.init()
        with torch.cuda.device(device):
            torch.cuda.current_stream().synchronize()  # makes sure that there is a context
            call("cuInit", 0)
            self.size = query_granularity(device.index)
        self.num_made = 0  # granules that exist, mapped or spare
        self._spare: list[Any] = []
        self._property = driver.CUmemAllocationProp()
        self._property.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        self._property.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        self._property.location.id = device.index
        self._access = driver.CUmemAccessDesc()
        self._access.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        self._access.location.id = device.index
        self._access.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE

    @property
    def num_spare(self) -> int:
        """Granules that nobody has mapped."""
        return len(self._spare)

    def take(self, count: int) -> list[Any]:
        """`count` granules, spare ones first.

        Raises:
            DriverError: The device has not so many; nothing is taken.
        """
        try:
            while len(self._spare) < count:
                self._spare.append(call("cuMemCreate", self.size, self._property, 0))
                self.num_made += 1
        except DriverError as exc:
            free, _ = torch.cuda.mem_get_info(self.device)
            raise DriverError(
                f"{count * self.size / _MIB:.0f} MiB of KV memory are wanted,"
                f" {len(self._spare) * self.size / _MIB:.0f} MiB are there and the device has"
                f" {free / _MIB:.0f} MiB free: {exc}"
            ) from exc
        taken = self._spare[len(self._spare) - count :]
        del self._spare[len(self._spare) - count :]
        return taken

    def give(self, granules: list[Any]) -> None:
        """These are not mapped any more."""
        self._spare += granules

    def settle(self) -> None:
        """Give spare granules back to the device."""
        while self._spare:
            call("cuMemRelease", self._spare.pop())
            self.num_made -= 1

    def map(self, address: int, granules: list[Any]) -> None:
        """Map `granules` one after the other from `address` on, for reading and writing.

        Raises:
            DriverError: None is mapped.
        """
        mapped = 0
        try:
            for granule in granules:
                call("cuMemMap", address + mapped * self.size, self.size, 0, granule, 0)
                mapped += 1
            call("cuMemSetAccess", address, mapped * self.size, [self._access], 1)
        except DriverError:
            self.unmap(address, mapped)
            raise

    def unmap(self, address: int, count: int) -> None:
        """Unmap `count` granules from `address` on."""
        for index in range(count):  # each as it was mapped: the driver takes no other ranges
            call("cuMemUnmap", address + index * self.size, self.size)
