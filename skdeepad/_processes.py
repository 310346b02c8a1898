"""Several processes of torch.distributed that train the same networks.

Each takes its share of every batch. Importing this imports torch.
"""

from torch import distributed


def check_group():
    """Refuse to share batches where there is nobody to share them with."""
    if not (distributed.is_available() and distributed.is_initialized()):
        raise ValueError(
            "distributed=True shares the work with the other processes of "
            "torch.distributed's default group, and there is none: start the script "
            "with torchrun and call torch.distributed.init_process_group() before "
            "fit, or set distributed=False."
        )


def rank():
    """Number of this process."""
    return distributed.get_rank()


def same_for_all(value):
    """The first process's value."""
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def share_of(n_rows):
    """Rows of a batch for this process, a slice, and their share in the whole.

    Of fewer rows than processes each takes all.
    """
    rank, size = distributed.get_rank(), distributed.get_world_size()
    if n_rows < size:
        return slice(None), 1 / size
    return slice(rank, None, size), len(range(rank, n_rows, size)) / n_rows


def take_first(tensor):
    """Replace a tensor by the first process's."""
    distributed.broadcast(tensor, 0)


def add_up(tensor):
    """Replace a tensor by its sum over the processes."""
    distributed.all_reduce(tensor)


def average(network):
    """Let all go on from the same networks: what each counted by itself is averaged.

    That is the running statistics of batch normalisation, and a centre that is set.
    """
    for tensor in network.state_dict().values():
        # The parameters of several members are views with gaps, which the collectives
        # do not see.
        total = tensor.contiguous()
        add_up(total)
        tensor.copy_(total.div_(distributed.get_world_size()))
