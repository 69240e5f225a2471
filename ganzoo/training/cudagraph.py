"""CUDA graphs: everything that a piece of work asks of the GPU, captured once and asked for again as a whole."""

from __future__ import annotations

from collections.abc import Callable

import torch


class CudaGraphs:
    """Captures work on one device.

    All graphs share one pool of memory. A graph may then write over what another one left there; so whatever is to
    outlive a replay has to be in memory from before the capture, or in a tensor that is kept, whose memory no other
    graph gets. Graphs are replayed one after another on one stream.

    Args:
        device: The GPU.
        generator: Random numbers that work draws from, besides the device's own.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device = device
        self._generator = generator
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def aside(self, work: Callable[[], None]) -> None:
        """Do work on the stream that it will be captured on: libraries set themselves up at their first calls."""
        main = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            work()
        main.wait_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Note what work asks of the GPU, without its being done, and give what does it on the same memory.

        Raises:
            RuntimeError: It waits for the device, or asks for something else that no graph can hold.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        return graph.replay
