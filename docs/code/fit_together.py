"""Fit in all processes that a launcher has started with this script."""

import pandas as pd
import torch
from accelerate import PartialState

from skdygen import DyGenClassifier

state = PartialState(cpu=not torch.cuda.is_available())  # joins the others
table = pd.read_csv("labels.csv")
clf = DyGenClassifier(random_state=0).fit(table["text"], table["label"])
if state.is_main_process:
    clf.save("model.skops")
state.destroy_process_group()
