"""A service that classifies texts: ``MODEL=model.skops uvicorn serve:app``."""

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

import skdygen

MOST_AT_ONCE = 256  # texts of all requests that are classified in one go


class Request(BaseModel):
    """Texts, and how probable a class must be to be named."""

    texts: list[str] = Field(min_length=1, max_length=1000)
    reject: float = Field(default=0, ge=0, le=1)


@asynccontextmanager
async def lifespan(app):
    """Load the model before the first request, and classify until the last."""
    app.classifier = skdygen.load(os.environ["MODEL"], warm=True)
    app.queue = asyncio.Queue()
    worker = asyncio.create_task(classify_all(app))
    yield
    worker.cancel()


app = FastAPI(lifespan=lifespan)


async def classify_all(app):
    """Classify what has come in meanwhile, in one go: one model, one pass."""
    while True:
        jobs = [await app.queue.get()]
        while not app.queue.empty() and sum(len(t) for t, _ in jobs) < MOST_AT_ONCE:
            jobs.append(app.queue.get_nowait())
        texts = [text for texts, _ in jobs for text in texts]
        try:
            found = await asyncio.to_thread(app.classifier.predict_proba, texts)
        except Exception as error:  # theirs who asked, not the end of the service
            for _, answer in jobs:
                if not answer.cancelled():
                    answer.set_exception(error)
            continue
        for texts, answer in jobs:
            if not answer.cancelled():  # who asked may have gone
                answer.set_result(found[: len(texts)])
            found = found[len(texts) :]


@app.post("/classify")
async def classify(request: Request):
    """Name the class of each text, or none that is too unsure."""
    for n, text in enumerate(request.texts):
        try:
            text.encode()
        except UnicodeEncodeError:  # it would fail all that are classified with it
            raise HTTPException(422, f"texts[{n}] is no valid Unicode.") from None
    answer = asyncio.get_running_loop().create_future()
    app.queue.put_nowait((request.texts, answer))
    found = await answer
    labels = app.classifier.classes_[found.argmax(axis=1)].tolist()
    return [
        {"label": label if p >= request.reject else None, "probability": p}
        for label, p in zip(labels, found.max(axis=1).tolist(), strict=True)
    ]


@app.get("/health")
async def health():
    """Say that the model is there, and for which classes."""
    return {"classes": app.classifier.classes_.tolist()}
