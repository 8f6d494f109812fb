"""Where the recipes that come with the project lie, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path


def configs_folder() -> Path:
    """The folder that holds ``<modality>/<recipe>.yaml``.

    A checkout's own folder comes first: an editable install may hold a copy in the package that is out of date.

    Raises:
        FileNotFoundError: the installation holds no recipes.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "configs").is_dir():
        return checkout / "configs"
    if (package / "configs").is_dir():
        return package / "configs"
    raise FileNotFoundError(
        f"this installation of omnimask holds no recipes: neither {checkout / 'configs'} nor {package / 'configs'}"
    )
