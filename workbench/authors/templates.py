"""The tiers' file templates, rendered: a template may use only what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from workbench.errors import TemplateError


def environment(root: Path) -> jinja2.Environment:
    """Templates below a folder, which write text and not HTML."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(root),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(environment: jinja2.Environment, name: str, variables: Mapping[str, object]) -> str:
    """A template's text, with one line break at its end.

    Raises:
        TemplateError: it is missing, broken, or uses a variable nobody gave.
    """
    try:
        text = environment.get_template(name).render(variables)
    except jinja2.TemplateNotFound as error:
        raise TemplateError(
            f"there is no template {error.name}", hint="templates are below tiers/ and prompts/"
        ) from error
    except jinja2.UndefinedError as error:
        raise TemplateError(
            f"template {name}: {error.message}",
            hint="a template may use only what its author gives",
        ) from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"template {error.filename or name}:{error.lineno}: {error.message}"
        ) from error
    return text.rstrip() + "\n"
