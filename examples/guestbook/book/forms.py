from django import forms

from book.models import Message


class MessageForm(forms.ModelForm):
    class Meta:
        model = Message
        fields = ("name", "text")
        labels = {"name": "Your name", "text": "Your message"}
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name", "placeholder": "Ada"}),
            "text": forms.Textarea(attrs={"rows": 3, "placeholder": "Say hello …"}),
        }
