"""Start of the trainer's process, before anything that takes long to import.

SIGTERM may come while the libraries are imported. By default it would end a process without a word, and the kernel
keeps it from the first process of a container altogether: the pod would train on until it is killed. So it is held
back until `StopSignal` listens.
"""

import os
import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    from finetune_trainer.start_up import StartUp

    start_up = StartUp()

    from finetune_trainer.command_line import main
    from finetune_trainer.place import Place

    code = main(start_up=start_up)
    if Place.here().count > 1:
        # All is said and written. Connections to processes that are gone, or that hang, may not be closed in peace.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
