from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from book.forms import MessageForm
from book.models import Message

SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """The book, newest entry first, and the form that writes into it."""
    form = MessageForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("index")
    entries = Message.objects.all()[:SHOWN]
    return render(
        request,
        "book/index.html",
        {"form": form, "entries": entries, "count": Message.objects.count()},
        status=422 if form.errors else 200,
    )


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers; an exception (500) when it does not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok", "database": connection.vendor})
