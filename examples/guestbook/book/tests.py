from django.http import HttpResponse
from django.test import Client, TestCase

from book.models import Message


class BookTest(TestCase):
    def setUp(self) -> None:
        self.browser = Client(enforce_csrf_checks=True)

    def post(self, **fields: str) -> HttpResponse:
        """Fill in the form as a browser behind the proxy does."""
        proxy = {"X-Forwarded-Proto": "https", "Origin": "https://testserver"}
        self.browser.get("/", secure=True, headers=proxy)
        token = self.browser.cookies["csrftoken"].value
        return self.browser.post("/", {"csrfmiddlewaretoken": token, **fields}, secure=True, headers=proxy)

    def test_a_message_is_written_and_shown_first(self) -> None:
        self.post(name="Ada", text="The first.")
        self.assertEqual(self.post(name="Grace", text="<b>The second.</b>").status_code, 302)
        page = self.browser.get("/").content.decode()
        self.assertIn("&lt;b&gt;The second.&lt;/b&gt;", page)
        self.assertLess(page.index("<strong>Grace"), page.index("<strong>Ada"))

    def test_an_empty_message_is_refused(self) -> None:
        self.assertEqual(self.post(name="Ada", text="  ").status_code, 422)
        self.assertEqual(Message.objects.count(), 0)

    def test_a_form_without_token_is_refused(self) -> None:
        self.assertEqual(self.browser.post("/", {"name": "Eve", "text": "x"}).status_code, 403)

    def test_health_asks_the_database(self) -> None:
        with self.assertNumQueries(1):
            self.assertEqual(self.client.get("/healthz").json()["status"], "ok")
