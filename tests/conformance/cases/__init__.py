"""All rows of the matrix."""

from conformance.case import Case
from conformance.cases import activated, files, inits, lora, lora_modules, methods, rest, terms, virtual

CASES: tuple[Case, ...] = (
    *lora.CASES,
    *lora_modules.CASES,
    *activated.CASES,
    *inits.CASES,
    *methods.CASES,
    *terms.CASES,
    *virtual.CASES,
    *files.CASES,
    *rest.CASES,
)
