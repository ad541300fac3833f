"""Certificates of this machine that are read when somebody is first asked to prove who they are.

aiohttp makes its contexts of TLS when it is loaded, and has each read all certificates, which takes as long as loading
the rest of it; most commands speak to this machine alone, and without TLS.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["read_when_used"]

#: Where aiohttp makes its contexts.
_MAKER = "aiohttp.connector"


def read_when_used() -> None:
    """Have the contexts of aiohttp, which is not loaded yet, read no certificates before they are used.

    Only for a process of our own: ``ssl`` is another one while that module of aiohttp is loaded.
    """
    if _MAKER not in sys.modules:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """Finds that one module, once."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MAKER:
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(cls)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _load_unread(load, module)  # type: ignore[method-assign]
        return spec


def _load_unread(load: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Load what makes contexts for clients, and have each read its certificates when it is first used."""
    import ssl

    class Unread(ssl.SSLContext):
        def __getattribute__(self, name: str) -> object:
            object.__setattr__(self, "__class__", ssl.SSLContext)
            self.set_default_verify_paths()
            return getattr(self, name)

    made: list[ssl.SSLContext] = []

    def read_later(self: ssl.SSLContext) -> None:
        made.append(self)

    ssl.SSLContext.set_default_verify_paths = read_later  # type: ignore[method-assign]
    try:
        load(module)
    finally:
        del ssl.SSLContext.set_default_verify_paths  # it is that of its base again
    for context in made:
        context.__class__ = Unread
