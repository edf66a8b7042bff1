"""A site whose page asks SQLite and PostgreSQL, and two servers that replace threads before it is imported.

python -m tests.green.program gevent|eventlet PORT; or `tests.green.site` under gunicorn.
"""

import sys


def serve(library, port):
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
        from gevent.pywsgi import WSGIServer

        from tests.green.site import application

        WSGIServer(("127.0.0.1", port), application).serve_forever()
    else:
        import eventlet

        eventlet.monkey_patch()
        from eventlet import wsgi

        from tests.green.site import application

        wsgi.server(eventlet.listen(("127.0.0.1", port)), application)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
