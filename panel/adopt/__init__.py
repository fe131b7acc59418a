"""Take over what is there: a survey's raw text is read, understood, and turned into values that can be planned.

All of it comes from a server and is data: nothing here is executed, and what cannot be said in values is named.
"""
