"""Write docs/examples/reviews.csv from the data that vaderSentiment carries.

pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
python docs/code/make_reviews.py vaderSentiment-3.3.2.tar.gz

Its wheel does not have them. Sentences are in the order of the products, whose reviews
are numbered: a sentence is from product i if its review has at most the i-th number.
"""

import ast
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd

INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/amazonReviewSnippets_{}.txt"
LAST_REVIEWS = {"dvd player": 98, "camera": 175, "phone": 215, "mp3 player": 309}
SENTIMENTS = np.array(["negative", "neutral", "positive"])
N_TEXTS = 1200


def read(kind):
    """Rows of a file, each by its id, which begins with the number of the review."""
    with tarfile.open(sys.argv[1]) as outer:
        packed = io.BytesIO(outer.extractfile(INNER).read())
    with tarfile.open(fileobj=packed) as inner:
        text = inner.extractfile(FILE.format(kind)).read().decode("utf-8-sig")
    rows = [line.split("\t") for line in text.splitlines()]
    return {cells[0]: cells[-1] for cells in rows}


texts, ratings, rows = read("GroundTruth"), read("anonDataRatings"), []
for key, text in texts.items():
    found = np.sign(ast.literal_eval(ratings[key])).astype(int) + 1
    counts = np.bincount(found, minlength=3)
    if len(text.split()) >= 4 and (counts == counts.max()).sum() == 1:
        review = int(key.partition("_")[0])
        product = next(p for p, last in LAST_REVIEWS.items() if review <= last)
        sentiment = SENTIMENTS[counts.argmax()]
        rows.append([text.strip(), product, sentiment, SENTIMENTS[found[0]]])
table = pd.DataFrame(rows, columns=["text", "product", "sentiment", "first_rater"])
table = table.sample(N_TEXTS, random_state=0)
path = Path(__file__).parents[1] / "examples" / "reviews.csv"
table.to_csv(path, index=False, lineterminator="\n")
