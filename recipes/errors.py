"""The errors that reach a user, each with the exit code it ends a command with.

A message is one line: what is wrong, with its name and value; where; what to do.
"""


class MaquetteError(Exception):
    """An error with a message for the user; everything else is a defect of Maquette."""

    exit_code = 1
    kind = "defect"


class InputError(MaquetteError):
    """The user's input or options are at fault."""

    exit_code = 2
    kind = "input"


class Cancelled(MaquetteError):
    """The user stopped the job."""

    exit_code = 3
    kind = "cancelled"


class MachineError(MaquetteError):
    """Memory, disk or device are at fault."""

    exit_code = 4
    kind = "machine"


BY_KIND = {cls.kind: cls for cls in (MaquetteError, InputError, Cancelled, MachineError)}
