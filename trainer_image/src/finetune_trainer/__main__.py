"""Start of the trainer's process, before anything that takes long to import.

SIGTERM may come while the libraries are imported. By default it would end a process without a word, and the kernel
keeps it from the first process of a container altogether: the pod would train on until it is killed. So it is held
back until `StopSignal` listens.
"""

import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    from finetune_trainer.command_line import main

    sys.exit(main())
