from django.db import models


class Message(models.Model):
    """One entry in the book."""

    name = models.CharField(max_length=60)
    text = models.TextField(max_length=600)
    written = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ("-written", "-id")

    def __str__(self) -> str:
        return f"{self.name}: {self.text[:40]}"

    @property
    def hue(self) -> int:
        """A colour that stays with a name."""
        return sum(ord(letter) * (place + 7) for place, letter in enumerate(self.name.lower())) % 360
