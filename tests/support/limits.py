"""How long a test waits before it gives up. Safety nets, all of them: no test is about how fast the machine is.

Sized for one that is several times slower than a laptop and has other work to do. A wait ends with the event that
it is for, so a generous limit costs time only where something is broken.
"""

from __future__ import annotations

BEAT_S = 30.0
"""For the next ``sys.`` message, which comes once a second."""
REPLY_S = 60.0
"""For a reply that the daemon gives at once, and for what is on its way when such a reply is here."""
WORK_S = 120.0
"""For what is made on the way: a turn, an answer, a template, the end of a session that drains."""
COMMAND_S = 150.0
"""For a run of the command line, with a daemon of its own or without."""
START_S = 150.0
"""From the start of a daemon to ``health`` ok."""
LOAD_S = 300.0
"""The same with processes that import torch."""
STOP_S = 60.0
"""From SIGTERM to the end; the daemon's own ladder takes ``supervisor.stop_s``, 10 s."""
RECOVERY_S = 120.0
"""From the death of a process to a warm successor."""
GONE_S = 30.0
"""For what the kernel or a thread does by itself."""
