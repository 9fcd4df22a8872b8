import subprocess
import sys


def test_import_does_not_import_torch():
    code = (
        "import sys, skdygen, skdygen.datasets, skdygen.denoisers, skdygen.dynamics,"
        "skdygen.priors; skdygen.DyGenClassifier();"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
