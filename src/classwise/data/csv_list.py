"""Images listed in a CSV file."""

from __future__ import annotations

from pathlib import Path

from classwise.configuration import config, replace
from classwise.data.dataset import Dataset
from classwise.data.listed import Item, ListedImages, check_unique, with_slashes
from classwise.data.naming import role_named
from classwise.data.table import Table, read_table
from classwise.registry import register


@register("data", "csv")
@config
class CSVList(ListedImages):
    """Your own images, listed in a CSV file: a column of paths, one of labels, and any others for groups and units.

    Where a column says which images are for training, validation (val, dev) and test, name it with ``split``. If it
    knows of validation but no test images, audits need images of their own. Without it, test images are held out here.
    The table itself may be given as the folder.
    """

    file: str = "labels.csv"
    """The table; a relative path is one in the folder."""
    path: str = "path"
    """Column of the image files; relative paths start from the folder."""
    label: str = "label"
    """Column of the classes."""
    split: str = ""
    """Column of the roles: train, validation, test; empty: the images are divided here."""
    delimiter: str = ","
    """What stands between the cells of a line."""

    def check(self) -> None:
        """Refuse a delimiter of several characters."""
        super().check()
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ValueError(f"delimiter {self.delimiter!r} must be one character, such as a comma or a semicolon")

    def load(self) -> Dataset:
        """See :class:`ListedImages`."""
        table = Path(self.folder).expanduser()
        if table.is_file():
            return replace(self, folder=str(table.parent), file=table.name).load()
        return super().load()

    def items(self, root: Path) -> list[Item]:
        """See :class:`ListedImages`."""
        table = read_table(root / Path(self.file).expanduser(), self.delimiter)
        files, labels = table.column(self.path), table.column(self.label)
        groups = table.column(self.groups) if self.groups else [""] * len(files)
        roles = self._roles(table) if self.split else [""] * len(files)
        units = table.column(self.units) if self.units else [""] * len(files)
        rows = zip(files, labels, groups, roles, units, strict=True)
        items = [Item(root / Path(file).expanduser(), file, *others) for file, *others in rows]
        check_unique(items, str(table.path))
        missing = [(item, line) for item, line in zip(items, table.lines, strict=True) if not item.path.is_file()]
        if missing:
            item, line = missing[0]
            mend = with_slashes(root, item.called) or "relative paths start from the folder, so check that"
            raise ValueError(
                f"{str(item.path)!r} does not exist (line {line} of {str(table.path)!r}; {len(missing)} missing in all): {mend}"
            )
        return items

    def _roles(self, table: Table) -> list[str]:
        words = table.column(self.split)
        roles = [role_named(word) or "" for word in words]
        if "" in roles:
            at = roles.index("")
            raise ValueError(
                f"line {table.lines[at]} of {str(table.path)!r} has {words[at]!r} in column {self.split!r}: write train, "
                "validation or test"
            )
        return roles
