"""What goes wrong in the sandbox, in words that say what to do next."""


class SandboxError(Exception):
    """Something that the sandbox could not do; the text is for the operator."""


class CannotBoot(SandboxError):
    """This machine cannot boot sandbox servers; the text says why and what works instead."""


class StaleLayer(SandboxError):
    """A saved layer is missing, or was made from something else than what is asked for now."""
