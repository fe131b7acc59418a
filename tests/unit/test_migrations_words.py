"""What a migration takes away is read from its file before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

Program = Callable[[str], ModuleType]
FILE = """
from django.db import migrations, models
from django.db.migrations import DeleteModel

class Migration(migrations.Migration):
    dependencies = [("shop", "0006")]
    operations = [
        migrations.AddField(model_name="order", name="city", field=models.TextField(default="")),
        migrations.RemoveField(model_name="order", name="note"),
        migrations.RenameField("order", "mail", "email"),
        DeleteModel("Coupon"),
        migrations.RenameModel(old_name="Cart", new_name="Basket"),
        migrations.RunSQL("create index x on y (z)"),
        migrations.RunSQL(sql="alter table shop_order\\n  drop column price; select 1"),
        migrations.RunSQL(["DROP TABLE old", STATEMENT]),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.DeleteModel("Kept")],
            database_operations=[migrations.AlterModelTable("tax", table="taxes")]),
        migrations.RunPython(forwards),
        *more,
    ]
"""


def test_what_goes_is_said_and_what_comes_is_not(program: Program) -> None:
    assert program("migrations").written(FILE) == [
        "drops the column note of order",
        "renames the column mail of order to email",
        "drops the table of Coupon",
        "renames the table of Cart to Basket",
        "runs SQL: drop column price",
        "runs SQL: DROP TABLE old",
        "renames the table of tax to taxes",
    ]


def test_a_file_that_is_no_python_takes_nothing_away(program: Program) -> None:
    assert program("migrations").written("class Migration(:") == []
    assert program("migrations").written("operations = 5\n") == []


def test_operations_of_the_project_itself_are_said_alike(program: Program) -> None:
    assert program("migrations").in_words("RemoveField", {"model_name": "order", "name": "note"}) == \
        "drops the column note of order"
    assert program("migrations").in_words("CreateModel", {"name": "Order"}) is None
