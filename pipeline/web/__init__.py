"""The published index over HTTP, and a page to try it: `medley serve`.

settings.py      what the command line gives
server.py        listens, answers until it is told to end
app.py           routes, errors and the page's files as one application
access.py        which hosts, origins and tokens are answered
traffic.py       how much and how often may be asked
guard.py         holds every request against both, and puts the headers on every answer
served.py        the index that answers now, and the thread that goes over to a newer one
catalogue.py     cards, filters and users of one index        media_files.py   its pictures and clips
space.py         its map                                      reasons.py       its scores as bars
questions.py · answers.py      what is asked and answered, as OpenAPI documents it
routes/          one module for asking, one for looking
static/          the page: plain modules of JavaScript, no framework, nothing from elsewhere
"""
