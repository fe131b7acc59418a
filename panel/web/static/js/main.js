// What every page may have. Each module looks for its own marks in the page and does nothing where there are none.
import { watchForms } from "./forms.js";
import { watchLists } from "./rows.js";
import { watchRun } from "./run.js";
import { watchJournal } from "./journal.js";
import { watchChat } from "./chat.js";
import { offerPalette } from "./palette.js";

document.documentElement.classList.add("js");
watchForms(document);
watchLists();
watchRun();
watchJournal();
watchChat();
offerPalette();
