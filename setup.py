"""Which folders go into the wheel: two packages, and the data that lies beside them in a checkout.

pyproject.toml can't say this: it finds packages below one root, and an op must not have to be
listed there.
"""

from setuptools import find_namespace_packages, setup

DATA = {f"workbench._data.{name}": name for name in ("tiers", "prompts", "workflows")}

setup(
    packages=[
        *find_namespace_packages(".", include=["workbench", "workbench.*"]),
        *find_namespace_packages("kernels", include=["workbench_kernels", "workbench_kernels.*"]),
        *DATA,
    ],
    package_dir={
        "workbench": "workbench",
        "workbench_kernels": "kernels/workbench_kernels",
        **DATA,
    },
    package_data={
        "*": ["py.typed", "*.json", "recipe.toml"],
        "workbench.agent": ["*.toml"],
        "workbench.bench": ["templates/*"],
        "workbench.evidence": ["templates/*.j2"],
        **{name: ["**/*"] for name in DATA},
    },
)
