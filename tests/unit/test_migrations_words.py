"""What a migration takes away is read from its file before anything is built."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugins" / "programs"))
import migrations

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


def test_what_goes_is_said_and_what_comes_is_not() -> None:
    assert migrations.written(FILE) == [
        "drops the column note of order",
        "renames the column mail of order to email",
        "drops the table of Coupon",
        "renames the table of Cart to Basket",
        "runs SQL: drop column price",
        "runs SQL: DROP TABLE old",
        "renames the table of tax to taxes",
    ]


def test_a_file_that_is_no_python_takes_nothing_away() -> None:
    assert migrations.written("class Migration(:") == []
    assert migrations.written("operations = 5\n") == []


def test_operations_of_the_project_itself_are_said_alike() -> None:
    assert migrations.in_words("RemoveField", {"model_name": "order", "name": "note"}) == \
        "drops the column note of order"
    assert migrations.in_words("CreateModel", {"name": "Order"}) is None
