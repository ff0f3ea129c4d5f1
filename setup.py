"""Leaves out of the wheel the modules beside `muonlab/__init__.py` that only the workflow needs.

Everything else about the package is in pyproject.toml; setuptools has no field for this.
"""

from setuptools import setup
from setuptools.command.build_py import build_py

KEPT = ("__init__", "streams")


class OptimizersOnly(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if package != "muonlab" or module[1] in KEPT]


setup(cmdclass={"build_py": OptimizersOnly})
