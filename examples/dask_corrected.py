"""Mean transmission of each corrected radiograph, by all worker processes of a Dask cluster.

    python examples/dask_corrected.py MOUNT/tomo.h5/entry/corrected/data.npy OUT.npy [SCHEDULER]

The frames go to the workers as file name and number, never as bytes: each worker opens the file
of the mount on its own node and has its own frames corrected there.  Without the address of a
scheduler two worker processes are started here.
"""

import sys

import numpy as np
import numpy.typing as npt
from dask.distributed import Client, LocalCluster, as_completed

FRAMES = 16  # for one task: enough to be worth its way, few enough to share out


def means(path: str, first: int, last: int) -> npt.NDArray[np.float64]:
    """Of the frames from `first` to before `last`; this is what runs on a worker."""
    stack = np.load(path, mmap_mode="r")
    return np.array([np.nanmean(frame, dtype=np.float64) for frame in stack[first:last]])


def main() -> None:
    path, out, *scheduler = sys.argv[1:]
    length = len(np.load(path, mmap_mode="r"))
    result = np.full(length, np.nan)
    cluster = scheduler[0] if scheduler else LocalCluster(n_workers=2, threads_per_worker=1)
    with Client(cluster) as client:
        tasks = {
            client.submit(means, path, first, min(first + FRAMES, length)): first
            for first in range(0, length, FRAMES)
        }
        for task in as_completed(tasks):
            values = task.result()
            result[tasks[task] : tasks[task] + len(values)] = values
        print(f"{length} frames by {len(client.scheduler_info()['workers'])} workers")
    if not scheduler:
        cluster.close()
    np.save(out, result)


if __name__ == "__main__":
    main()
