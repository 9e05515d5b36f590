# Prints the messages in the tests of Python's package email, one a line in base64:
# first the files of its data directory, then the literals in its source that are a
# header and a body. Many are malformed on purpose.
import ast, base64, glob, os, re, textwrap
import test.test_email

here = os.path.dirname(test.test_email.__file__)
begins = re.compile(rb'[A-Za-z][A-Za-z-]*: ?[^\n]*\r?\n')
seen = set()


def give(message):
    if message not in seen:
        seen.add(message)
        print(base64.b64encode(message).decode())


for file in sorted(glob.glob(here + '/data/*.txt')):
    give(open(file, 'rb').read())
for file in sorted(glob.glob(here + '/*.py')):
    for node in ast.walk(ast.parse(open(file, 'rb').read())):
        text = getattr(node, 'value', None) if isinstance(node, ast.Constant) else None
        if isinstance(text, str):
            try:
                text = textwrap.dedent(text).encode('utf-8', 'surrogateescape')
            except UnicodeEncodeError:
                continue
        if isinstance(text, bytes) and begins.match(text) and re.search(rb'\r?\n\r?\n', text):
            give(text)
