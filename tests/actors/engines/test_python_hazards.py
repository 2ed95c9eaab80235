import ast

import pytest

from actors.engines.python_measures import measure_python

HAZARDS = [
    ("eval(text)", "eval of a computed string"),
    ("exec(compile(a, b, c))", "exec of a computed string"),
    ("os.system('rm ' + path)", "shell command from a computed string"),
    ("subprocess.run(f'ls {path}', shell=True)", "shell=True with a computed command"),
    ("requests.get(url, verify=False)", "certificate check switched off"),
    ("pickle.loads(data)", "pickle.loads runs whatever the data says"),
    ("yaml.load(stream)", "yaml.load without a safe loader"),
    ("yaml.load(stream, Loader=yaml.FullLoader)", "yaml.load without a safe loader"),
    ("text = open(path).read()", "file opened and never closed"),
    ("breakpoint()", "debugger left in"),
    ("import pdb; pdb.set_trace()", "debugger left in"),
    ("tempfile.mktemp()", "tempfile.mktemp is open to a race"),
    ("cursor.execute(f'SELECT * FROM t WHERE a = {a}')", "SQL assembled from strings"),
    ("cursor.execute('DELETE FROM t WHERE a = %s' % a)", "SQL assembled from strings"),
    ("cursor.execute('insert into t values ({})'.format(a))", "SQL assembled from strings"),
]

HARMLESS = [
    "eval('1 + 1')",
    "model.eval()",
    "os.system('ls')",
    "subprocess.run(['ls', path])",
    "subprocess.run('ls', shell=True)",
    "yaml.load(stream, Loader=yaml.SafeLoader)",
    "yaml.safe_load(stream)",
    "json.loads(data)",
    "with open(path) as file: file.read()",
    "cursor.execute('SELECT * FROM t WHERE a = %s', (a,))",
    "cursor.execute(f'SELECT * FROM t WHERE a = 1')",
    "executor.execute(f'{name} done')",
    "check(verify=False)",
    "f(x)(y)",
]


@pytest.mark.parametrize(("source", "hazard"), HAZARDS)
def test_a_hazard_is_named_with_its_line(source, hazard):
    assert measure_python(ast.parse("\n" + source)).hazards == [f"{hazard} (line 2)"]


@pytest.mark.parametrize("source", HARMLESS)
def test_what_only_resembles_a_hazard_is_let_through(source):
    assert measure_python(ast.parse(source)).hazards == []
