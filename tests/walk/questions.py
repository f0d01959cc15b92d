"""The fifty questions, in the order in which they are asked: the first brings the copy up to date."""

from tests.walk import engineering, product, quality, success

QUESTIONS = (*success.QUESTIONS, *product.QUESTIONS, *quality.QUESTIONS, *engineering.QUESTIONS)
