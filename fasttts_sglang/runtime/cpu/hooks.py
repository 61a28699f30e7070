"""Hooks that only a CPU machine needs."""

from ..hook import Hook

HOOKS: tuple[Hook, ...] = ()
