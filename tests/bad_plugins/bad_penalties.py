"""Penalties that do nothing, or more than they should: without a graph, on the wrong side, summed over the batch."""

import torch

from ganzoo import Regularizer, functional, hookimpl


class NoGraph(Regularizer):
    """R1, whose gradient is a constant to the optimizer."""

    def penalty(self, context):
        images = context.batch.real.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(context.critic(images).sum(), images)
        return functional.squared_norm(gradient).mean()


class WrongSide(Regularizer):
    """Small weights of the generator, in the discriminator's phase."""

    def penalty(self, context):
        return sum(weight.square().mean() for weight in context.networks["generator"].parameters())


class Summed(Regularizer):
    """R1, summed over the batch."""

    def penalty(self, context):
        return functional.squared_norm(functional.input_gradient(context.critic, context.batch.real)).sum()


@hookimpl
def register_regularizers(register):
    register("no-graph", NoGraph, summary="R1 without a graph", paper="Someone 2020")
    register("wrong-side", WrongSide, summary="Small weights of the other player", paper="Someone 2020")
    register("summed", Summed, summary="R1, summed", paper="Someone 2020")
